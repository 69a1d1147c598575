# Replaces modules/password where a stack is tested: `terraform test` has no mocks for ephemeral resources.

variable "arn" {
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
