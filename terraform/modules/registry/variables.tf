variable "name" {
  description = "The repository's name: the images' name in the registry."
  type        = string
  default     = "stenopool"

  validation {
    condition     = can(regex("^[a-z0-9]+([._/-][a-z0-9]+)*$", var.name))
    error_message = "Lower-case letters, digits, and single separators between them."
  }
}

variable "keep_versions" {
  description = "Versions of each image that are kept; what can be rolled back to."
  type        = number
  default     = 10

  validation {
    condition     = var.keep_versions >= 2
    error_message = "At least two: the one that runs and the one before it."
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
