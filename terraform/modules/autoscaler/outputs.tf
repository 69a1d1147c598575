output "role_arn" {
  description = "The autoscaler's role."
  value       = aws_iam_role.this.arn
}
