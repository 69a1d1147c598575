output "value" {
  description = "The password; ephemeral, so it can be used in write-only arguments only."
  value       = ephemeral.aws_secretsmanager_secret_version.this.secret_string
  ephemeral   = true
  sensitive   = true
}
