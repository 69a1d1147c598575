variable "cluster_name" {
  description = "Name of the cluster."
  type        = string
}

variable "cluster_arn" {
  description = "ARN of the cluster: only its pods may assume the roles created here."
  type        = string
}

variable "node_role_arn" {
  description = "Role of the nodes, from the module cluster."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "instance_types" {
  description = "Instance types with equal cores and memory: the autoscaler assumes that all are like the first."
  type        = list(string)
  default     = ["m7i.xlarge", "m6i.xlarge"]
}

variable "min_size" {
  description = "Minimum number of nodes, always on: for Prefect's server and workers and the API."
  type        = number
  default     = 2

  validation {
    condition     = var.min_size >= 1
    error_message = "Prefect's server and workers need a node that is always on."
  }
}

variable "max_size" {
  description = "Maximum number of nodes; `prepare` runs use the nodes above the minimum."
  type        = number
  default     = 8

  validation {
    condition     = var.max_size >= var.min_size
    error_message = "The maximum must not be less than the minimum."
  }
}

variable "disk_gb" {
  description = "Disk of a node in GB: for images, and 20 GB of scratch space per `prepare` pod."
  type        = number
  default     = 100
}
