variable "cluster_name" {
  description = "The cluster."
  type        = string
}

variable "cluster_arn" {
  description = "The cluster's ARN: only its pods may take the roles made here."
  type        = string
}

variable "node_role_arn" {
  description = "The nodes' role, made by the module cluster."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "instance_types" {
  description = "Instance types, alike in cores and memory: the autoscaler takes the first for all."
  type        = list(string)
  default     = ["m7i.xlarge", "m6i.xlarge"]
}

variable "min_size" {
  description = "Nodes that are always there: Prefect's server and workers, the API."
  type        = number
  default     = 2

  validation {
    condition     = var.min_size >= 1
    error_message = "Prefect's server and workers need a node that is always there."
  }
}

variable "max_size" {
  description = "Most nodes at a time; `prepare` runs use what is above the minimum."
  type        = number
  default     = 8

  validation {
    condition     = var.max_size >= var.min_size
    error_message = "The most must not be less than the minimum."
  }
}

variable "disk_gb" {
  description = "A node's disk, in GB: images, and 20 GB of scratch for every `prepare` pod."
  type        = number
  default     = 100
}
