# Replaces modules/secret where a stack is tested: `terraform test` has no mocks for ephemeral resources.

variable "name" {
  type = string
}

variable "description" {
  type = string
}

variable "generation" {
  type = number
}

variable "recovery_window_days" {
  type    = number
  default = 30
}

variable "kms_key_arn" {
  type = string
}

output "arn" {
  value = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:${var.name}"
}
