variable "name" {
  description = "Name of the secret, such as stenopool/database."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*/[a-z][a-z0-9-]*$", var.name))
    error_message = "Use the name of the installation and of the secret, such as stenopool/database."
  }
}

variable "description" {
  description = "Purpose of the password."
  type        = string
}

variable "generation" {
  description = "Raise this number to change the password."
  type        = number
  default     = 1

  validation {
    condition     = var.generation >= 1 && floor(var.generation) == var.generation
    error_message = "Use a whole number of 1 or more."
  }
}

variable "recovery_window_days" {
  description = "Days for which a deleted secret can be restored; its name stays reserved for that time. 0 deletes at once."
  type        = number
  default     = 30

  validation {
    condition     = var.recovery_window_days == 0 || (var.recovery_window_days >= 7 && var.recovery_window_days <= 30)
    error_message = "AWS allows 0, or 7 to 30 days."
  }
}

variable "kms_key_arn" {
  description = "Key for the secret."
  type        = string
}
