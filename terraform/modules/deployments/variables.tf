variable "prefect_yaml" {
  description = "Text of deployments/prefect.yaml."
  type        = string

  validation {
    condition     = can(yamldecode(var.prefect_yaml).deployments[0].work_pool.name)
    error_message = "It must name deployments and their pools."
  }
}

variable "images" {
  description = "Images of the pools."
  type        = object({ cpu = string, gpu = string })

  validation {
    condition     = alltrue([for image in values(var.images) : can(regex(":[^/]+$", image)) && !endswith(image, ":latest")])
    error_message = "Name a version: a run must not change with what is pushed meanwhile."
  }
}

variable "namespace" {
  description = "Where runs land."
  type        = string
}

variable "service_accounts" {
  description = "What runs of the pools cpu and gpu run as, and the API."
  type        = object({ cpu = string, gpu = string, api = string })
}

variable "source_uri" {
  description = "Where recordings are read."
  type        = string
}

variable "destination_uri" {
  description = "Where transcripts go."
  type        = string
}

variable "models_uri" {
  description = "The mirror of weights."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "env" {
  description = "More environment variables of runs. No secrets: they would stand in jobs' manifests."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.env) : !can(regex("TOKEN|SECRET|PASSWORD|AUTH_STRING", name))])
    error_message = "Secrets do not belong here: everybody who may look at jobs could read them."
  }
}

variable "schedules" {
  description = "When the source is transcribed, by name, e.g. { nightly = { cron = \"0 2 * * *\", timezone = \"Europe/Zurich\" } }."
  type        = map(object({ cron = string, timezone = optional(string, "UTC") }))
  default     = {}

  validation {
    condition     = alltrue([for schedule in var.schedules : can(regex("^(\\S+ ){4}\\S+$", schedule.cron))])
    error_message = "A schedule has five fields, such as 0 2 * * *."
  }
}

variable "arrivals_queue_url" {
  description = "Queue that the source's arrivals go to: looked at each minute. Null: none."
  type        = string
  default     = null
}
