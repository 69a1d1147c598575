output "name" {
  description = "Name of the cluster, once nodes can join it."
  value       = aws_eks_cluster.this.name
  depends_on  = [aws_eks_addon.node]
}

output "kubernetes_version" {
  description = "Kubernetes version of the control plane, which nodes and add-ons follow."
  value       = aws_eks_cluster.this.version
}

output "arn" {
  description = "ARN of the cluster: the roles of pods trust only this cluster."
  value       = aws_eks_cluster.this.arn
}

output "endpoint" {
  description = "URL of the Kubernetes API."
  value       = aws_eks_cluster.this.endpoint
}

output "dns_address" {
  description = "Address of the cluster's DNS. In Auto Mode no pod has it, so network policies must name the address."
  value       = cidrhost(var.service_cidr, 10)
}

output "certificate_authority" {
  description = "Certificate authority of the Kubernetes API, in PEM."
  value       = base64decode(aws_eks_cluster.this.certificate_authority[0].data)
}

output "security_group_id" {
  description = "Security group of nodes and pods: the source of allowed traffic."
  value       = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
}

output "node_role_arn" {
  description = "ARN of the nodes' role, for node groups."
  value       = aws_iam_role.node.arn
  depends_on  = [aws_iam_role_policy_attachment.node]
}

output "node_role_name" {
  description = "Name of the same role, for the node class of Auto Mode."
  value       = aws_iam_role.node.name
}
