variable "cluster_name" {
  description = "Name of the cluster."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "kubernetes_version" {
  description = "Version of the control plane: the autoscaler's should be the same."
  type        = string
}

variable "auto_mode" {
  description = "Whether the cluster uses EKS Auto Mode. False: node groups of the module nodes."
  type        = bool
}

variable "node_role_name" {
  description = "Role of the nodes, from the module cluster; for Auto Mode."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of the nodes; for Auto Mode."
  type        = list(string)
}

variable "security_group_id" {
  description = "Security group of the nodes, from the module cluster; for Auto Mode."
  type        = string
}

variable "gpu" {
  description = "GPU nodes, as in the module nodes. In Auto Mode, max_size is the total of both capacity types."
  type = object({
    instance_types = list(string)
    max_size       = number
    gpus_per_node  = optional(number, 1)
    disk_gb        = optional(number, 150)
    capacity       = optional(string, "spot_with_fallback")
  })
}

variable "ingress" {
  description = "Certificate (ACM) of the load balancer that the ingress class `alb` creates in Auto Mode, and its scheme: internal or internet-facing. Null: no ingress class."
  type        = object({ certificate_arn = string, scheme = optional(string, "internal") })
  default     = null
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

variable "mirror" {
  description = "Registry with copies of images and charts (`<mirror>/cluster-autoscaler`, `<mirror>/charts/...`). Null: those of the publishers."
  type        = string
  default     = null
}

variable "autoscaler_chart_version" {
  description = "Version of the chart cluster-autoscaler."
  type        = string
  # renovate: datasource=helm depName=cluster-autoscaler registryUrl=https://kubernetes.github.io/autoscaler
  default = "9.59.0"
}

variable "device_plugin_version" {
  description = "Version of NVIDIA's device plugin chart."
  type        = string
  # renovate: datasource=helm depName=nvidia-device-plugin registryUrl=https://nvidia.github.io/k8s-device-plugin
  default = "0.17.4"
}
