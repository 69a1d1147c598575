variable "cluster_name" {
  description = "Name of the cluster."
  type        = string
}

variable "node_role_arn" {
  description = "Role of the nodes, from the module cluster; for node groups."
  type        = string
}

variable "node_role_name" {
  description = "Name of the same role; required by Karpenter."
  type        = string
  default     = null

  validation {
    condition     = var.provisioner != "karpenter" || var.node_role_name != null
    error_message = "Karpenter needs node_role_name."
  }
}

variable "subnet_ids" {
  description = "Private subnets, for node groups. Karpenter finds them by their tag karpenter.sh/discovery."
  type        = list(string)
}

variable "provisioner" {
  description = "Provisioner of nodes: node_group (with the module autoscaler) or karpenter (which must be installed)."
  type        = string
  default     = "node_group"

  validation {
    condition     = contains(["node_group", "karpenter"], var.provisioner)
    error_message = "Use node_group or karpenter."
  }
}

variable "capacity" {
  description = "spot_with_fallback (on-demand if no spot capacity is available), spot, or on_demand."
  type        = string
  default     = "spot_with_fallback"

  validation {
    condition     = contains(["spot_with_fallback", "spot", "on_demand"], var.capacity)
    error_message = "Use spot_with_fallback, spot or on_demand."
  }
}

variable "instance_types" {
  description = "Instance types with equal GPUs, cores and memory. More types find spot capacity more often."
  type        = list(string)
  default     = ["g6.2xlarge", "g5.2xlarge"]

  validation {
    condition     = length(var.instance_types) > 0 && alltrue([for name in var.instance_types : can(regex("^(g|p)[0-9]+[a-z]*\\.[a-z0-9]+$", name))])
    error_message = "Use instances of the families g and p, such as g6.2xlarge."
  }

  validation {
    condition     = alltrue([for name in var.instance_types : !can(regex("^g5g\\.", name))])
    error_message = "g5g instances are ARM, but the images and the AMI are x86."
  }
}

variable "gpus_per_node" {
  description = "Number of GPUs per instance."
  type        = number
  default     = 1
}

variable "max_size" {
  description = "Maximum number of nodes: per capacity type with node groups, in total with Karpenter. Limits the bill."
  type        = number
  default     = 4

  validation {
    condition     = var.max_size >= 1 && floor(var.max_size) == var.max_size
    error_message = "Use at least one node; otherwise GPU runs wait forever."
  }
}

variable "disk_gb" {
  description = "Disk of a node in GB: for an image of 10 GB, weights, and 20 GB of scratch space per pod."
  type        = number
  default     = 150

  validation {
    condition     = var.disk_gb >= 80
    error_message = "The GPU image, weights and scratch space need at least 80 GB."
  }
}

variable "empty_for" {
  description = "How long an empty node waits for more work before it is removed; for Karpenter."
  type        = string
  default     = "5m"
}

variable "fast_image_pull" {
  description = "Pull image layers in parallel (FastImagePull of nodeadm, which AWS calls experimental)."
  type        = bool
  default     = true
}

variable "device_plugin_version" {
  description = "Version of NVIDIA's device plugin chart."
  type        = string
  default     = "0.17.4"
}
