variable "name" {
  description = "The secret's name, such as stenopool/database."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*/[a-z][a-z0-9-]*$", var.name))
    error_message = "A name is the installation's and the secret's, such as stenopool/database."
  }
}

variable "description" {
  description = "What the password opens."
  type        = string
}

variable "generation" {
  description = "Raise it to change the password."
  type        = number
  default     = 1

  validation {
    condition     = var.generation >= 1 && floor(var.generation) == var.generation
    error_message = "A whole number from 1."
  }
}

variable "recovery_window_days" {
  description = "Days for which a deleted secret can be brought back; its name is taken for so long. 0 deletes at once."
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
