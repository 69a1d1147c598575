variable "name" {
  description = "Name of the installation: 2 to 20 lower-case letters, digits and hyphens."
  type        = string
  default     = "stenopool"
}

variable "region" {
  description = "AWS region. Look first whether it has the GPU instances, and whether your account may start that many."
  type        = string
}

variable "cidr" {
  description = "Addresses of the network, /16 to /20."
  type        = string
  default     = "10.0.0.0/16"
}

variable "air_gapped" {
  description = "No NAT gateways: images and charts must then come from mirrors inside AWS (prefect_image, and charts in ECR)."
  type        = bool
  default     = false
}

variable "kubernetes_version" {
  description = "Kubernetes version such as 1.34. Null: the newest at creation."
  type        = string
  default     = null
}

variable "public_access_cidrs" {
  description = "Addresses from which the Kubernetes API is reached over the internet. Empty: from inside the network only."
  type        = list(string)
  default     = []
}

variable "administrator_role_arns" {
  description = "IAM roles that administer the cluster."
  type        = set(string)
  default     = []
}

variable "gpu_provisioner" {
  description = "node_group, or karpenter where it is installed."
  type        = string
  default     = "node_group"
}

variable "gpu_instance_types" {
  description = "GPU instance types, alike in GPUs, cores and memory."
  type        = list(string)
  default     = ["g6.2xlarge", "g5.2xlarge"]
}

variable "gpu_nodes" {
  description = "Most GPU nodes at a time, of each capacity type; also what `stenopool deploy --gpus` is given."
  type        = number
  default     = 4
}

variable "recordings_bucket" {
  description = "A bucket of yours with recordings. Null: one is made."
  type        = string
  default     = null
}

variable "recordings_kms_key_arns" {
  description = "Keys that your own bucket is encrypted with."
  type        = list(string)
  default     = []
}

variable "source_prefix" {
  description = "Where in their bucket the recordings are."
  type        = string
  default     = ""
}

variable "destination_prefix" {
  description = "Where in their bucket transcripts go."
  type        = string
  default     = ""
}

variable "prefect_image" {
  description = "Image of Prefect's server and workers; from a mirror of yours where the cluster is air-gapped."
  type        = object({ repository = string, tag = string, worker_tag = string })
  default = {
    repository = "prefecthq/prefect"
    tag        = "3.8.8-python3.11"
    worker_tag = "3.8.8-python3.11-kubernetes"
  }
}

variable "password_generation" {
  description = "Raise it to change all passwords."
  type        = number
  default     = 1
}

variable "mail_addresses" {
  description = "Who is told of alarms."
  type        = set(string)
  default     = []
}

variable "monthly_budget" {
  description = "US dollars a month. Null: no budget."
  type        = number
  default     = null
}

variable "stenopool_version" {
  description = "Version of the images that runs use."
  type        = string
  default     = "0.1.0"
}

variable "schedules" {
  description = "When the source is transcribed, by name."
  type        = map(object({ cron = string, timezone = optional(string, "UTC") }))
  default     = { nightly = { cron = "0 2 * * *" } }
}

variable "tags" {
  description = "Tags for everything."
  type        = map(string)
  default     = {}
}
