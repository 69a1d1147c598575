variable "cluster_name" {
  description = "Name of the cluster."
  type        = string
}

variable "cluster_arn" {
  description = "ARN of the cluster: only its pods may assume these roles."
  type        = string
}

variable "namespace" {
  description = "Namespace of API and exporter."
  type        = string
  default     = "stenopool"
}

variable "runs_namespace" {
  description = "Namespace of the runs."
  type        = string
  default     = "stenopool-runs"
}

variable "service_accounts" {
  description = "Service accounts that get the roles: for `watch`, `ingest` and `prepare` runs, for `transcribe` runs, for the API and for the exporter."
  type = object({
    cpu      = optional(string, "stenopool-cpu")
    gpu      = optional(string, "stenopool-gpu")
    api      = optional(string, "stenopool-api")
    exporter = optional(string, "stenopool-exporter")
  })
  default = {}

  validation {
    condition     = length(distinct(values(var.service_accounts))) == 4
    error_message = "Use four different service accounts: each account has one role, and the GPU role must not read recordings."
  }
}

variable "bucket_arns" {
  description = "Buckets of recordings, transcripts and models."
  type        = object({ recordings = string, transcripts = string, models = string })
}

variable "source_prefix" {
  description = "Prefix of the recordings in their bucket; nothing outside it can be read."
  type        = string
  default     = ""
}

variable "destination_prefix" {
  description = "Prefix of the transcripts in their bucket; nothing outside it can be read, written or deleted."
  type        = string
  default     = ""
}

variable "kms_key_arns" {
  description = "KMS keys of the buckets; usable through S3 only."
  type        = list(string)

  validation {
    condition     = alltrue([for arn in var.kms_key_arns : !strcontains(arn, "*")])
    error_message = "Name each key: a wildcard would open every key of the account."
  }
}

variable "arrivals_queue_arn" {
  description = "Queue of arrivals that `watch` reads, in the pool cpu. Null for none."
  type        = string
  default     = null
}
