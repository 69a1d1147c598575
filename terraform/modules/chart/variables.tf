variable "image" {
  description = "Repository of Stenopool's images, and their version."
  type        = object({ repository = string, version = string })

  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+", var.image.version))
    error_message = "Use a version such as 0.1.0: later pushes must not change a run."
  }
}

variable "runs_namespace" {
  description = "Namespace of the runs."
  type        = string
}

variable "service_accounts" {
  description = "Service accounts by role, from the module identity; the chart creates them."
  type        = map(string)
}

variable "source_uri" {
  description = "Location of the recordings."
  type        = string
}

variable "destination_uri" {
  description = "Location of the transcripts."
  type        = string
}

variable "models_uri" {
  description = "Location of the mirror of weights."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "cidr" {
  description = "Address range of the network, in which database and cache are."
  type        = string
}

variable "dns_address" {
  description = "Address of the cluster's DNS, from the module cluster."
  type        = string
}

variable "gpus" {
  description = "Maximum number of GPU runs at a time."
  type        = number
}

variable "server_replicas" {
  description = "Number of Prefect servers for requests; one scheduler runs next to them."
  type        = number
  default     = 1

  validation {
    condition     = var.server_replicas >= 1 && var.server_replicas <= 3
    error_message = "Use 1 to 3: each needs up to 30 connections to PostgreSQL."
  }
}

variable "password_generation" {
  description = "Number of the passwords' generation: a change restarts the pods."
  type        = number
  default     = 1
}

variable "ingress" {
  description = "Host of the API, and the addresses of the load balancer. Null for none."
  type        = object({ host = string, cidr = string })
  default     = null
}

variable "env" {
  description = "More environment variables for runs. Do not use secrets: they would be in the manifests of jobs."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.env) : !can(regex("TOKEN|SECRET|PASSWORD|AUTH_STRING", name))])
    error_message = "Do not use secrets here: anyone who can view jobs could read them."
  }
}

variable "schedules" {
  description = "Schedules for transcribing the source, by name, for example { nightly = { cron = \"0 2 * * *\", timezone = \"Europe/Zurich\" } }."
  type        = map(object({ cron = string, timezone = optional(string, "UTC") }))
  default     = {}

  validation {
    condition     = alltrue([for schedule in var.schedules : can(regex("^(\\S+ ){4}\\S+$", schedule.cron))])
    error_message = "Use a schedule of five fields, such as 0 2 * * *."
  }
}

variable "arrivals_queue_url" {
  description = "Queue of the source's arrivals, read every minute. Null for none."
  type        = string
  default     = null
}
