variable "name" {
  description = "Name of the installation."
  type        = string
}

variable "vpc_id" {
  description = "ID of the network."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets without a route to the internet, in at least two zones."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "RDS needs subnets in at least two zones, even for a single instance."
  }
}

variable "client_security_group_id" {
  description = "The cluster's security group: the only one that may connect."
  type        = string
}

variable "password" {
  description = "Password of the user prefect; not in the state."
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
  description = "Key for data, backups and logs."
  type        = string
}

variable "postgres_version" {
  description = "Major version of PostgreSQL; RDS updates the minor version."
  type        = string
  default     = "17"

  validation {
    condition     = can(regex("^1[4-9]$", var.postgres_version))
    error_message = "Use a major version of 14 or later, such as 17."
  }
}

variable "instance_class" {
  description = "Instance class. The default suffices for a million recordings a month."
  type        = string
  default     = "db.t4g.medium"

  validation {
    condition     = startswith(var.instance_class, "db.")
    error_message = "RDS instance classes start with db."
  }
}

variable "storage_gb" {
  description = "Disk in GB; grows automatically to up to five times this size. Prefect stores about 17 KB per task run."
  type        = number
  default     = 20

  validation {
    condition     = var.storage_gb >= 20
    error_message = "The minimum of RDS is 20 GB."
  }
}

variable "multi_az" {
  description = "Run a standby in another zone. Without one, a failure stops scheduling for minutes to hours; nothing is lost."
  type        = bool
  default     = false
}

variable "backup_days" {
  description = "Days for which backups are kept."
  type        = number
  default     = 7

  validation {
    condition     = var.backup_days >= 1 && var.backup_days <= 35
    error_message = "1 to 35 days."
  }
}

variable "apply_immediately" {
  description = "Apply changes of the class or version at once, with an interruption of minutes. False: in the maintenance window."
  type        = bool
  default     = false
}

variable "deletion_protection" {
  description = "Refuse to delete the database, and keep a final snapshot if it is deleted."
  type        = bool
  default     = true
}

variable "log_retention_days" {
  description = "Days for which database logs are kept."
  type        = number
  default     = 365
}
