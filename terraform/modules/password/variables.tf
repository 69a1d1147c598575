variable "arn" {
  description = "ARN of a secret in Secrets Manager."
  type        = string
}
