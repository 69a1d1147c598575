output "service_accounts" {
  description = "Service accounts by role: cpu, gpu, api, exporter."
  value       = var.service_accounts
  depends_on  = [aws_eks_pod_identity_association.this]
}

output "role_arns" {
  description = "ARNs of the roles: cpu, gpu, api, exporter."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
}
