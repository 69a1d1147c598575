variable "name" {
  description = "Name of the repository, and of the images in the registry."
  type        = string
  default     = "stenopool"

  validation {
    condition     = can(regex("^[a-z0-9]+([._/-][a-z0-9]+)*$", var.name))
    error_message = "Use lower-case letters, digits, and single separators between them."
  }
}

variable "keep_versions" {
  description = "Number of versions of each image to keep, for rollbacks."
  type        = number
  default     = 10

  validation {
    condition     = var.keep_versions >= 2
    error_message = "Use at least two: the current version and the one before it."
  }
}

variable "kms_key_arn" {
  description = "Key for the images."
  type        = string
}

variable "force_delete" {
  description = "Let `terraform destroy` delete a repository that holds images. For trials only."
  type        = bool
  default     = false
}
