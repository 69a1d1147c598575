output "name" {
  description = "The cluster, once nodes can join it."
  value       = aws_eks_cluster.this.name
  depends_on  = [aws_eks_addon.network_plugin, aws_eks_addon.node]
}

output "arn" {
  description = "The cluster's ARN: pods' roles trust it and no other."
  value       = aws_eks_cluster.this.arn
}

output "endpoint" {
  description = "The Kubernetes API."
  value       = aws_eks_cluster.this.endpoint
}

output "certificate_authority" {
  description = "The Kubernetes API's certificate authority, in PEM."
  value       = base64decode(aws_eks_cluster.this.certificate_authority[0].data)
}

output "security_group_id" {
  description = "What nodes and pods belong to: the source of allowed traffic."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "node_role_arn" {
  description = "The nodes' role, for node groups."
  value       = aws_iam_role.node.arn
  depends_on  = [aws_iam_role_policy_attachment.node]
}

output "node_role_name" {
  description = "The nodes' role, for Karpenter."
  value       = aws_iam_role.node.name
}
