variable "name" {
  description = "Name of the installation; bucket names start with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "A name is 2 to 20 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "existing_recordings_bucket" {
  description = "Your bucket with recordings; its configuration is not changed. Null: a bucket is created."
  type        = string
  default     = null
}

variable "source_prefix" {
  description = "Prefix of the recordings in their bucket, without leading or trailing slash."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([^/].*[^/]|[^/]?)$", var.source_prefix))
    error_message = "Use a prefix without leading or trailing slash."
  }
}

variable "destination_prefix" {
  description = "Prefix of transcripts, receipts and work files in their bucket, without leading or trailing slash."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([^/].*[^/]|[^/]?)$", var.destination_prefix))
    error_message = "Use a prefix without leading or trailing slash."
  }
}

variable "kms_key_arn" {
  description = "Key for objects and messages."
  type        = string
}

variable "old_versions_days" {
  description = "Days for which overwritten and deleted objects can be restored."
  type        = number
  default     = 30

  validation {
    condition     = var.old_versions_days >= 1
    error_message = "Use at least one day."
  }
}

variable "checkpoint_days" {
  description = "Days after which abandoned checkpoints are deleted. Use more than the longest pause between two runs over a prefix."
  type        = number
  default     = 14

  validation {
    condition     = var.checkpoint_days >= 2
    error_message = "Use at least two days: newer checkpoints may belong to a run in progress."
  }
}

variable "recordings_cold_after_days" {
  description = "Days after which recordings move to Glacier Instant Retrieval, which is cheap to store and expensive to read. Null: never."
  type        = number
  default     = null

  validation {
    condition     = var.recordings_cold_after_days == null || try(var.recordings_cold_after_days >= 30, false)
    error_message = "Use at least 30 days: before that, the savings are small and every re-run pays for reading."
  }
}

variable "arrivals_queue" {
  description = "Create a queue that gets a message for each arriving recording. Schedules do not need it."
  type        = bool
  default     = false
}

variable "force_destroy" {
  description = "Let `terraform destroy` delete buckets that are not empty. For trials only."
  type        = bool
  default     = false
}
