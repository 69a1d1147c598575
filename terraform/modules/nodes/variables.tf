variable "cluster_name" {
  description = "Name of the cluster."
  type        = string
}

variable "cluster_arn" {
  description = "ARN of the cluster: only its pods may assume the roles created here."
  type        = string
}

variable "kubernetes_version" {
  description = "Version of the control plane. Nodes and add-ons are updated to it."
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

variable "cpu" {
  description = "Nodes for Prefect, the API and `prepare` runs; `min_size` of them are always on. The disk has images, and 20 GB of scratch space per `prepare` pod."
  type = object({
    # Equal cores and memory: the autoscaler assumes that all are like the first.
    instance_types = optional(list(string), ["m7i.xlarge", "m6i.xlarge"])
    min_size       = optional(number, 2)
    max_size       = optional(number, 8)
    disk_gb        = optional(number, 100)
  })
  default = {}

  validation {
    condition     = var.cpu.min_size >= 1 && var.cpu.max_size >= var.cpu.min_size
    error_message = "Prefect's server and workers need a node that is always on, and the maximum must not be less."
  }
}

variable "gpu" {
  description = "GPU nodes: at most `max_size` of each capacity type. The disk has an image of 10 GB, weights, and 20 GB of scratch space per pod."
  type = object({
    # Equal GPUs, cores and memory. More types find spot capacity more often.
    instance_types = list(string)
    max_size       = number
    gpus_per_node  = optional(number, 1)
    disk_gb        = optional(number, 150)
    # spot_with_fallback (on-demand if no spot capacity is available), spot, or on_demand.
    capacity = optional(string, "spot_with_fallback")
  })

  validation {
    condition     = contains(["spot_with_fallback", "spot", "on_demand"], var.gpu.capacity)
    error_message = "Use spot_with_fallback, spot or on_demand."
  }

  validation {
    condition     = var.gpu.disk_gb >= 80
    error_message = "The GPU image, weights and scratch space need at least 80 GB."
  }
}

variable "fast_image_pull" {
  description = "Pull image layers in parallel (FastImagePull of nodeadm, which AWS calls experimental)."
  type        = bool
  default     = true
}
