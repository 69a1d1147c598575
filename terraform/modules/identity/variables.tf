variable "cluster_name" {
  description = "The cluster."
  type        = string
}

variable "cluster_arn" {
  description = "The cluster's ARN: only its pods may take these roles."
  type        = string
}

variable "namespace" {
  description = "Namespace of the pods."
  type        = string
  default     = "stenopool"
}

variable "service_accounts" {
  description = "Service accounts that get the roles: of `watch`, `ingest` and `prepare` runs, of `transcribe` runs, of the API."
  type = object({
    cpu = optional(string, "stenopool-cpu")
    gpu = optional(string, "stenopool-gpu")
    api = optional(string, "stenopool-api")
  })
  default = {}

  validation {
    condition     = length(distinct(values(var.service_accounts))) == 3
    error_message = "Three different service accounts: one account has one role, and the GPU's must not be able to read recordings."
  }
}

variable "bucket_arns" {
  description = "Buckets of recordings, transcripts and models."
  type        = object({ recordings = string, transcripts = string, models = string })
}

variable "source_prefix" {
  description = "Where in their bucket the recordings are; nothing outside it can be read."
  type        = string
  default     = ""
}

variable "destination_prefix" {
  description = "Where in their bucket transcripts go; nothing outside it can be read, written or deleted."
  type        = string
  default     = ""
}

variable "kms_key_arns" {
  description = "Keys that the buckets are encrypted with; usable through S3 only."
  type        = list(string)

  validation {
    condition     = alltrue([for arn in var.kms_key_arns : !strcontains(arn, "*")])
    error_message = "Name each key: a wildcard would open every key of the account."
  }
}

variable "arrivals_queue_arn" {
  description = "Queue of arrivals that `watch` reads, in the pool cpu. Null: none."
  type        = string
  default     = null
}
