variable "cluster_name" {
  description = "The cluster."
  type        = string
}

variable "cluster_arn" {
  description = "The cluster's ARN: only its pods may take the role made here."
  type        = string
}

variable "empty_for" {
  description = "How long a node may stand idle before it goes."
  type        = string
  default     = "5m"

  validation {
    condition     = can(regex("^[0-9]+[smh]$", var.empty_for))
    error_message = "A time such as 5m."
  }
}

variable "chart_version" {
  description = "Version of the chart cluster-autoscaler. Its app version should be the cluster's Kubernetes version."
  type        = string
  default     = "9.59.0"
}
