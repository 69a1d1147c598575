variable "name" {
  description = "Name of the installation."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets without a way to the internet."
  type        = list(string)
}

variable "client_security_group_id" {
  description = "The cluster's security group: the only one that may connect."
  type        = string
}

variable "password" {
  description = "Password; never in the state."
  type        = string
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9]{16,128}$", var.password))
    error_message = "16 to 128 letters and digits: it stands in a URL."
  }
}

variable "password_generation" {
  description = "Raise it when the password changes."
  type        = number
}

variable "kms_key_arn" {
  description = "Key for data and logs."
  type        = string
}

variable "valkey_version" {
  description = "Version of Valkey, which speaks Redis' protocol."
  type        = string
  default     = "8.0"

  validation {
    condition     = can(regex("^[89]\\.[0-9]$", var.valkey_version))
    error_message = "Major and minor version from 8 on, such as 8.0."
  }
}

variable "node_type" {
  description = "Node type. Messages pass through; little stays."
  type        = string
  default     = "cache.t4g.small"

  validation {
    condition     = startswith(var.node_type, "cache.")
    error_message = "Node types of ElastiCache begin with cache."
  }
}

variable "replicas" {
  description = "Replicas in other zones, one of which takes over when the primary fails."
  type        = number
  default     = 0

  validation {
    condition     = contains([0, 1, 2, 3, 4, 5], var.replicas)
    error_message = "0 to 5 replicas."
  }
}

variable "backup_days" {
  description = "Days that can be gone back to. Receipts are the truth; this saves only what is being decided now."
  type        = number
  default     = 1
}

variable "log_retention_days" {
  description = "Days for which the log of slow commands is kept."
  type        = number
  default     = 365
}
