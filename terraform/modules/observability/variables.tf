variable "name" {
  description = "Name of the installation."
  type        = string
}

variable "kms_key_arn" {
  description = "Key for notifications and logs."
  type        = string
}

variable "mail_addresses" {
  description = "Who is told of alarms; each must confirm once."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.mail_addresses : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", address))])
    error_message = "Mail addresses, such as ops@example.org."
  }
}

variable "database_identifier" {
  description = "The database to watch. Null: none."
  type        = string
  default     = null
}

variable "database_connections" {
  description = "Connections at which to raise the alarm. A Prefect server takes up to 30."
  type        = number
  default     = 80
}

variable "cache_node_ids" {
  description = "The cache's nodes to watch."
  type        = list(string)
  default     = []
}

variable "gpu_autoscaling_groups" {
  description = "GPU node groups to watch, by capacity type."
  type        = map(string)
  default     = {}
}

variable "gpu_hours" {
  description = "Hours without a break after which GPU nodes are reported."
  type        = number
  default     = 12

  validation {
    condition     = var.gpu_hours >= 1 && var.gpu_hours <= 24
    error_message = "1 to 24 hours: CloudWatch looks back no further."
  }
}

variable "monthly_budget" {
  description = "US dollars a month: told when 80 % are spent, or when more than all will be. Null: no budget."
  type        = number
  default     = null

  validation {
    condition     = var.monthly_budget == null || try(var.monthly_budget > 0, false)
    error_message = "More than nothing, or null."
  }
}

variable "container_logs" {
  description = "Send pods' logs to CloudWatch; it charges by the gigabyte."
  type        = bool
  default     = false

  validation {
    condition     = !var.container_logs || (var.cluster_name != null && var.cluster_arn != null)
    error_message = "Pods' logs need cluster_name and cluster_arn."
  }
}

variable "cluster_name" {
  description = "The cluster, for its pods' logs."
  type        = string
  default     = null
}

variable "cluster_arn" {
  description = "The cluster's ARN, for its pods' logs."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "Days for which pods' logs are kept."
  type        = number
  default     = 365
}
