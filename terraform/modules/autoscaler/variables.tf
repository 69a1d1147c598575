variable "cluster_name" {
  description = "Name of the cluster."
  type        = string
}

variable "cluster_arn" {
  description = "ARN of the cluster: only its pods may assume the role created here."
  type        = string
}

variable "empty_for" {
  description = "How long a node may be idle before it is removed."
  type        = string
  default     = "5m"

  validation {
    condition     = can(regex("^[0-9]+[smh]$", var.empty_for))
    error_message = "Use a duration such as 5m."
  }
}

variable "chart_version" {
  description = "Version of the chart cluster-autoscaler. Its app version should be the cluster's Kubernetes version."
  type        = string
  default     = "9.59.0"
}
