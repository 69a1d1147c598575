variable "name" {
  description = "Name of the installation: 2 to 20 lower-case letters, digits and hyphens."
  type        = string
  default     = "stenopool"
}

variable "region" {
  description = "AWS region. First check that it has the GPU instances, and that your account may start enough of them."
  type        = string
}

variable "cidr" {
  description = "Address range of the network, /16 to /20."
  type        = string
  default     = "10.0.0.0/16"
}

variable "air_gapped" {
  description = "Leave out NAT gateways. Images and charts must then come from mirrors inside AWS (prefect_image, and charts in ECR)."
  type        = bool
  default     = false
}

variable "kubernetes_version" {
  description = "Kubernetes version such as 1.34. Null: the newest at creation."
  type        = string
  default     = null
}

variable "public_access_cidrs" {
  description = "Addresses that can reach the Kubernetes API over the internet. Empty: only from inside the network."
  type        = list(string)
  default     = []
}

variable "administrator_role_arns" {
  description = "IAM roles that administer the cluster."
  type        = set(string)
  default     = []
}

variable "gpu_provisioner" {
  description = "Provisioner of GPU nodes: node_group, or karpenter if it is installed."
  type        = string
  default     = "node_group"
}

variable "gpu_instance_types" {
  description = "GPU instance types with equal GPUs, cores and memory."
  type        = list(string)
  default     = ["g6.2xlarge", "g5.2xlarge"]
}

variable "gpu_nodes" {
  description = "Maximum number of GPU nodes per capacity type; also the value for `stenopool deploy --gpus`."
  type        = number
  default     = 4
}

variable "recordings_bucket" {
  description = "Your bucket with recordings. Null: a bucket is created."
  type        = string
  default     = null
}

variable "recordings_kms_key_arns" {
  description = "KMS keys of your own bucket."
  type        = list(string)
  default     = []
}

variable "source_prefix" {
  description = "Prefix of the recordings in their bucket."
  type        = string
  default     = ""
}

variable "destination_prefix" {
  description = "Prefix of the transcripts in their bucket."
  type        = string
  default     = ""
}

variable "prefect_image" {
  description = "Image of Prefect's server and workers; from your mirror if the cluster is air-gapped."
  type        = object({ repository = string, tag = string, worker_tag = string })
  default = {
    repository = "prefecthq/prefect"
    tag        = "3.8.8-python3.11"
    worker_tag = "3.8.8-python3.11-kubernetes"
  }
}

variable "password_generation" {
  description = "Raise this number to change all passwords."
  type        = number
  default     = 1
}

variable "mail_addresses" {
  description = "Mail addresses that receive alarms."
  type        = set(string)
  default     = []
}

variable "monthly_budget" {
  description = "US dollars a month. Null for no budget."
  type        = number
  default     = null
}

variable "stenopool_version" {
  description = "Version of Stenopool's images."
  type        = string
  default     = "0.1.0"
}

variable "schedules" {
  description = "Schedules for transcribing the source, by name."
  type        = map(object({ cron = string, timezone = optional(string, "UTC") }))
  default     = { nightly = { cron = "0 2 * * *" } }
}

variable "tags" {
  description = "Tags for everything."
  type        = map(string)
  default     = {}
}
