variable "name" {
  description = "Name of the installation; bucket names begin with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "A name is 2 to 20 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "existing_recordings_bucket" {
  description = "A bucket of yours that holds the recordings. Null: one is made. Yours is left as it is."
  type        = string
  default     = null
}

variable "source_prefix" {
  description = "Where in their bucket the recordings are, without slashes at the ends."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([^/].*[^/]|[^/]?)$", var.source_prefix))
    error_message = "A prefix has no slash at its ends."
  }
}

variable "destination_prefix" {
  description = "Where in their bucket transcripts, receipts and work files go, without slashes at the ends."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^([^/].*[^/]|[^/]?)$", var.destination_prefix))
    error_message = "A prefix has no slash at its ends."
  }
}

variable "kms_key_arn" {
  description = "Key for objects and messages."
  type        = string
}

variable "old_versions_days" {
  description = "Days for which overwritten and deleted objects can be brought back."
  type        = number
  default     = 30

  validation {
    condition     = var.old_versions_days >= 1
    error_message = "At least a day."
  }
}

variable "checkpoint_days" {
  description = "Days after which abandoned checkpoints go. Longer than the longest pause between two runs over a prefix."
  type        = number
  default     = 14

  validation {
    condition     = var.checkpoint_days >= 2
    error_message = "At least two days: younger checkpoints may belong to a run that goes on."
  }
}

variable "recordings_cold_after_days" {
  description = "Days after which recordings move to Glacier Instant Retrieval, which is cheap to keep and dear to read. Null: never."
  type        = number
  default     = null

  validation {
    condition     = var.recordings_cold_after_days == null || try(var.recordings_cold_after_days >= 30, false)
    error_message = "At least 30 days: small savings, and every re-run would pay for reading."
  }
}

variable "arrivals_queue" {
  description = "Make a queue that gets a message for each recording that arrives. Schedules need none."
  type        = bool
  default     = false
}

variable "force_destroy" {
  description = "Let `terraform destroy` delete buckets that are not empty. For trials only."
  type        = bool
  default     = false
}
