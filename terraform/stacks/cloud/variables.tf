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

variable "zones" {
  description = "Number of availability zones. More zones find spot GPUs more often."
  type        = number
  default     = 2
}

variable "nat" {
  description = "NAT gateways: one, or per_zone, which survives the loss of a zone."
  type        = string
  default     = "one"
}

variable "air_gapped" {
  description = "Leave out NAT gateways. Images and charts must then come from a registry in AWS: the variable mirror of the stack cluster."
  type        = bool
  default     = false
}

variable "kubernetes_version" {
  description = "Kubernetes version. Raise it by one minor version at a time: nodes and add-ons follow in the same apply."
  type        = string
  # renovate: datasource=endoflife-date depName=amazon-eks
  default = "1.34"
}

variable "auto_mode" {
  description = "EKS Auto Mode: AWS runs and updates the nodes, for a fee per instance hour. False: node groups and Cluster Autoscaler."
  type        = bool
  default     = true
}

variable "public_access_cidrs" {
  description = "Addresses that can reach the Kubernetes API over the internet, for example [\"203.0.113.7/32\"]. Empty: only from inside the network."
  type        = list(string)
  default     = []
}

variable "administrator_role_arns" {
  description = "IAM roles that administer the cluster."
  type        = set(string)
  default     = []
}

variable "cpu_nodes" {
  description = "Minimum and maximum number of CPU nodes, and their types, without Auto Mode."
  type        = object({ min_size = optional(number, 1), max_size = optional(number, 3), instance_types = optional(list(string)) })
  default     = {}
}

variable "gpu_instance_types" {
  description = "GPU instance types with equal GPUs, cores and memory."
  type        = list(string)
  default     = ["g6.xlarge", "g5.xlarge"]

  validation {
    condition     = length(var.gpu_instance_types) > 0 && alltrue([for name in var.gpu_instance_types : can(regex("^(g|p)[0-9]+[a-z]*\\.[a-z0-9]+$", name)) && !startswith(name, "g5g.")])
    error_message = "Use instances of the families g and p, such as g6.2xlarge. g5g instances are ARM, but the images and the AMI are x86."
  }
}

variable "gpu_nodes" {
  description = "Maximum number of GPU nodes (without Auto Mode: per capacity type), and of GPU runs at a time. Limits the bill."
  type        = number
  default     = 1

  validation {
    condition     = var.gpu_nodes >= 1 && floor(var.gpu_nodes) == var.gpu_nodes
    error_message = "Use at least one node; otherwise GPU runs wait forever."
  }
}

variable "recordings_bucket" {
  description = "Your bucket with recordings. Null: a bucket is created. For arrivals_queue, turn on EventBridge in your bucket."
  type        = string
  default     = null
}

variable "recordings_kms_key_arns" {
  description = "KMS keys of your own bucket."
  type        = list(string)
  default     = []
}

variable "recordings_cold_after_days" {
  description = "Days after which recordings move to cheaper storage. Null: never."
  type        = number
  default     = null
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

variable "arrivals_queue" {
  description = "A queue for arriving recordings, which are then transcribed within minutes."
  type        = bool
  default     = false
}

variable "database" {
  description = "Major version and size of PostgreSQL. Changes of version and class wait for the maintenance window unless apply_immediately."
  type        = object({ postgres_version = optional(string, "17"), instance_class = optional(string, "db.t4g.small"), storage_gb = optional(number, 20), apply_immediately = optional(bool, false) })
  default     = {}
}

variable "backup_days" {
  description = "Days for which backups of the database are kept."
  type        = number
  default     = 7
}

variable "cache_node_type" {
  description = "Node type of the cache."
  type        = string
  default     = "cache.t4g.micro"
}

variable "standby" {
  description = "A standby of database and cache in another zone."
  type        = bool
  default     = false
}

variable "password_generation" {
  description = "Raise this number to change all passwords."
  type        = number
  default     = 1
}

variable "alarms" {
  description = "Alarms in CloudWatch, and what belongs to them: mail, budget, pod logs."
  type        = bool
  default     = false
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

variable "container_logs" {
  description = "Send pod logs to CloudWatch, which charges per gigabyte."
  type        = bool
  default     = false
}

variable "ingress" {
  description = "Host name of the API, and the ARN of its certificate in ACM: a load balancer with TLS (Auto Mode only). Scheme: internal or internet-facing. Null: no way in but port-forward."
  type        = object({ host = string, certificate_arn = string, scheme = optional(string, "internal") })
  default     = null

  validation {
    condition     = var.ingress == null || var.auto_mode
    error_message = "Without Auto Mode, the cluster has no controller for load balancers: install yours."
  }
}

variable "protect" {
  description = "Set to false for a trial: `terraform destroy` then deletes everything, including recordings in the created bucket."
  type        = bool
  default     = true
}

variable "stenopool_version" {
  description = "Version of Stenopool's images."
  type        = string
  default     = "0.1.0"
}

variable "schedules" {
  description = "Schedules for transcribing the source, by name, such as { nightly = { cron = \"0 2 * * *\" } }."
  type        = map(object({ cron = string, timezone = optional(string, "UTC") }))
  default     = {}
}

variable "tags" {
  description = "Tags for everything."
  type        = map(string)
  default     = {}
}
