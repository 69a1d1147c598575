output "arn" {
  description = "ARN of the secret, for `aws secretsmanager get-secret-value` and the module password."
  value       = aws_secretsmanager_secret_version.this.arn
}
