variable "name" {
  description = "Name of the installation."
  type        = string
}

variable "vpc_id" {
  description = "ID of the network."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets without a route to the internet."
  type        = list(string)
}

variable "client_security_group_id" {
  description = "The cluster's security group: the only one that may connect."
  type        = string
}

variable "password" {
  description = "Password; not in the state."
  type        = string
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9]{16,128}$", var.password))
    error_message = "Use 16 to 128 letters and digits, because it is part of a URL."
  }
}

variable "password_generation" {
  description = "Raise this number when the password changes."
  type        = number
}

variable "kms_key_arn" {
  description = "Key for data and logs."
  type        = string
}

variable "valkey_version" {
  description = "Version of Valkey, which is compatible with Redis."
  type        = string
  default     = "8.0"

  validation {
    condition     = can(regex("^[89]\\.[0-9]$", var.valkey_version))
    error_message = "Use a major and minor version of 8.0 or later, such as 8.0."
  }
}

variable "node_type" {
  description = "Node type. Messages are short-lived, so little memory is needed."
  type        = string
  default     = "cache.t4g.small"

  validation {
    condition     = startswith(var.node_type, "cache.")
    error_message = "ElastiCache node types start with cache."
  }
}

variable "replicas" {
  description = "Replicas in other zones; one takes over if the primary fails."
  type        = number
  default     = 0

  validation {
    condition     = contains([0, 1, 2, 3, 4, 5], var.replicas)
    error_message = "0 to 5 replicas."
  }
}

variable "backup_days" {
  description = "Days for which snapshots are kept. The cache has only work in progress; receipts record what is done."
  type        = number
  default     = 1
}

variable "log_retention_days" {
  description = "Days for which the log of slow commands is kept."
  type        = number
  default     = 365
}
