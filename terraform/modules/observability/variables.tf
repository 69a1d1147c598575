variable "name" {
  description = "Name of the installation."
  type        = string
}

variable "kms_key_arn" {
  description = "Key for notifications and logs."
  type        = string
}

variable "mail_addresses" {
  description = "Mail addresses that receive alarms; each must confirm once."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for address in var.mail_addresses : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", address))])
    error_message = "Use mail addresses, such as ops@example.org."
  }
}

variable "database_identifier" {
  description = "Identifier of the database to watch. Null for none."
  type        = string
  default     = null
}

variable "database_connections" {
  description = "Number of connections that raises the alarm. A Prefect server uses up to 30."
  type        = number
  default     = 80
}

variable "cache_node_ids" {
  description = "Identifiers of the cache nodes to watch."
  type        = list(string)
  default     = []
}

variable "queue_names" {
  description = "Queues of arrivals to watch: messages that wait, and messages that could not be delivered."
  type        = object({ waiting = list(string), undeliverable = list(string) })
  default     = { waiting = [], undeliverable = [] }
}

variable "gpu_autoscaling_groups" {
  description = "GPU node groups to watch, by capacity type; none in Auto Mode."
  type        = map(string)
  default     = {}
}

variable "gpu_hours" {
  description = "Hours without a break after which GPU nodes are reported."
  type        = number
  default     = 12

  validation {
    condition     = var.gpu_hours >= 1 && var.gpu_hours <= 24
    error_message = "Use 1 to 24 hours, because CloudWatch looks back no further."
  }
}

variable "monthly_budget" {
  description = "US dollars a month. Sends mail when 80 % are spent, or when the forecast exceeds the budget. Null for no budget."
  type        = number
  default     = null

  validation {
    condition     = var.monthly_budget == null || try(var.monthly_budget > 0, false)
    error_message = "Use a number above 0, or null."
  }
}

variable "container_logs" {
  description = "Send pod logs to CloudWatch, which charges per gigabyte."
  type        = bool
  default     = false

  validation {
    condition     = !var.container_logs || (var.cluster_name != null && var.cluster_arn != null && var.kubernetes_version != null)
    error_message = "Pod logs need cluster_name, cluster_arn and kubernetes_version."
  }
}

variable "cluster_name" {
  description = "Name of the cluster, for the budget and pod logs."
  type        = string
  default     = null
}

variable "cluster_arn" {
  description = "ARN of the cluster, for pod logs."
  type        = string
  default     = null
}

variable "kubernetes_version" {
  description = "Version of the cluster, which the add-on for pod logs follows."
  type        = string
  default     = null
}

variable "log_retention_days" {
  description = "Days for which pod logs are kept."
  type        = number
  default     = 365
}
