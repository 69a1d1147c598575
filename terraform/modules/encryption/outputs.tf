output "key_arn" {
  description = "The key, for every other module's kms_key_arn."
  value       = aws_kms_key.this.arn
}
