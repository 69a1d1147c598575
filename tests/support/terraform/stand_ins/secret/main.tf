# A stand-in for modules/secret in tests of examples: `terraform test` has no mocks for ephemeral resources.

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

variable "password" {
  type      = string
  default   = "0123456789abcdefghijABCDEFGHIJ0123456789"
  ephemeral = true
}

output "value" {
  value     = var.password
  ephemeral = true
  sensitive = true
}

output "arn" {
  value = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:${var.name}"
}
