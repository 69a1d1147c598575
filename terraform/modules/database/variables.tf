variable "name" {
  description = "Name of the installation."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets without a way to the internet, in two zones at least."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "RDS needs subnets in two zones at least, also for a single instance."
  }
}

variable "client_security_group_id" {
  description = "The cluster's security group: the only one that may connect."
  type        = string
}

variable "password" {
  description = "Password of the user prefect; never in the state."
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
  description = "Key for data, backups and logs."
  type        = string
}

variable "postgres_version" {
  description = "PostgreSQL's major version; RDS keeps the minor one up to date."
  type        = string
  default     = "17"

  validation {
    condition     = can(regex("^1[4-9]$", var.postgres_version))
    error_message = "A major version from 14 on, such as 17."
  }
}

variable "instance_class" {
  description = "Instance class. A server does its part of a million recordings a month with the default."
  type        = string
  default     = "db.t4g.medium"

  validation {
    condition     = startswith(var.instance_class, "db.")
    error_message = "Instance classes of RDS begin with db."
  }
}

variable "storage_gb" {
  description = "Disk in GB; grows by itself up to five times as much. Prefect keeps about 17 KB for each task run."
  type        = number
  default     = 20

  validation {
    condition     = var.storage_gb >= 20
    error_message = "RDS gives 20 GB at least."
  }
}

variable "multi_az" {
  description = "A standby in another zone. Without one, a failure is minutes to hours without scheduling; nothing is lost."
  type        = bool
  default     = false
}

variable "backup_days" {
  description = "Days that can be gone back to."
  type        = number
  default     = 7

  validation {
    condition     = var.backup_days >= 1 && var.backup_days <= 35
    error_message = "1 to 35 days."
  }
}

variable "deletion_protection" {
  description = "Refuse to delete the database; and where it is deleted, keep a last snapshot."
  type        = bool
  default     = true
}

variable "log_retention_days" {
  description = "Days for which the database's logs are kept."
  type        = number
  default     = 365
}
