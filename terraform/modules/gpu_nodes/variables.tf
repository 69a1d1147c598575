variable "cluster_name" {
  description = "The cluster."
  type        = string
}

variable "node_role_arn" {
  description = "The nodes' role, made by the module cluster; for node groups."
  type        = string
}

variable "node_role_name" {
  description = "The same role by name; for Karpenter, which finds nothing without it."
  type        = string
  default     = null

  validation {
    condition     = var.provisioner != "karpenter" || var.node_role_name != null
    error_message = "Karpenter needs node_role_name."
  }
}

variable "subnet_ids" {
  description = "Private subnets; for node groups. Karpenter finds them by their tag karpenter.sh/discovery."
  type        = list(string)
}

variable "provisioner" {
  description = "Who makes nodes: node_group (with the module autoscaler) or karpenter (which must be installed)."
  type        = string
  default     = "node_group"

  validation {
    condition     = contains(["node_group", "karpenter"], var.provisioner)
    error_message = "The provisioner is node_group or karpenter."
  }
}

variable "capacity" {
  description = "spot_with_fallback (spot, and on-demand where there is none), spot, or on_demand."
  type        = string
  default     = "spot_with_fallback"

  validation {
    condition     = contains(["spot_with_fallback", "spot", "on_demand"], var.capacity)
    error_message = "Capacity is spot_with_fallback, spot or on_demand."
  }
}

variable "instance_types" {
  description = "Instance types, alike in GPUs, cores and memory. More types find spot more often."
  type        = list(string)
  default     = ["g6.2xlarge", "g5.2xlarge"]

  validation {
    condition     = length(var.instance_types) > 0 && alltrue([for name in var.instance_types : can(regex("^(g|p)[0-9]+[a-z]*\\.[a-z0-9]+$", name))])
    error_message = "GPU instances are of the families g and p, such as g6.2xlarge."
  }

  validation {
    condition     = alltrue([for name in var.instance_types : !can(regex("^g5g\\.", name))])
    error_message = "g5g instances are ARM; the images and the AMI are x86."
  }
}

variable "gpus_per_node" {
  description = "GPUs in one such instance."
  type        = number
  default     = 1
}

variable "max_size" {
  description = "Most nodes at a time, of each capacity type with node groups, altogether with Karpenter. What bounds the bill."
  type        = number
  default     = 4

  validation {
    condition     = var.max_size >= 1 && floor(var.max_size) == var.max_size
    error_message = "At least one node; with none, GPU runs would wait for ever."
  }
}

variable "disk_gb" {
  description = "A node's disk, in GB: an image of ten, weights, and 20 GB of scratch for each pod."
  type        = number
  default     = 150

  validation {
    condition     = var.disk_gb >= 80
    error_message = "The GPU image, weights and scratch need 80 GB at least."
  }
}

variable "empty_for" {
  description = "How long an empty node waits for more work before it goes; for Karpenter."
  type        = string
  default     = "5m"
}

variable "fast_image_pull" {
  description = "Pull image layers in parallel (nodeadm's FastImagePull, called experimental by AWS)."
  type        = bool
  default     = true
}

variable "device_plugin_version" {
  description = "Version of NVIDIA's device plugin chart."
  type        = string
  default     = "0.17.4"
}
