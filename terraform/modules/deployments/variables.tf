variable "prefect_yaml" {
  description = "Text of deployments/prefect.yaml."
  type        = string

  validation {
    condition     = can(yamldecode(var.prefect_yaml).deployments[0].work_pool.name)
    error_message = "The text must contain deployments and their pools."
  }
}

variable "images" {
  description = "Images of the pools."
  type        = object({ cpu = string, gpu = string })

  validation {
    condition     = alltrue([for image in values(var.images) : can(regex(":[^/]+$", image)) && !endswith(image, ":latest")])
    error_message = "Use a version tag: later pushes must not change a run."
  }
}

variable "namespace" {
  description = "Namespace of the runs."
  type        = string
}

variable "service_accounts" {
  description = "Service accounts of runs in the pools cpu and gpu, and of the API."
  type        = object({ cpu = string, gpu = string, api = string })
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
