variable "name" {
  description = "Name of the installation and of the cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "A name is 2 to 20 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "kubernetes_version" {
  description = "Kubernetes version such as 1.34. Null: the newest at creation, unchanged afterwards. Set it to control upgrades."
  type        = string
  default     = null

  validation {
    condition     = var.kubernetes_version == null || can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "Use a version without its patch, such as 1.34."
  }
}

variable "auto_mode" {
  description = "EKS Auto Mode: AWS runs and updates nodes, network plugin, volumes, GPU drivers and load balancers. False: the module nodes."
  type        = bool
  default     = true
}

variable "subnet_ids" {
  description = "Private subnets, in at least two zones."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "EKS needs subnets in at least two zones."
  }
}

variable "service_cidr" {
  description = "Addresses of services inside the cluster; must not overlap with the network."
  type        = string
  default     = "172.20.0.0/16"
}

variable "public_access_cidrs" {
  description = "Addresses that can reach the Kubernetes API over the internet. Empty: only from inside the network."
  type        = list(string)
  default     = []

  validation {
    condition     = !contains(var.public_access_cidrs, "0.0.0.0/0")
    error_message = "The Kubernetes API must not be open to the whole internet: list your addresses."
  }
}

variable "administrator_role_arns" {
  description = "IAM roles that administer the cluster, in addition to the one that creates it."
  type        = set(string)
  default     = []
}

variable "kms_key_arn" {
  description = "Key for Kubernetes secrets and logs."
  type        = string
}

variable "log_retention_days" {
  description = "Days for which logs of the control plane are kept."
  type        = number
  default     = 365
}

variable "deletion_protection" {
  description = "Refuse to delete the cluster."
  type        = bool
  default     = true
}
