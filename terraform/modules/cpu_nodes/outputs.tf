output "node_group_name" {
  description = "Name of the node group, once its nodes and add-ons are ready."
  value       = aws_eks_node_group.this.node_group_name
  depends_on  = [aws_eks_addon.this, aws_eks_addon.volumes]
}

output "autoscaling_group_name" {
  description = "Autoscaling group that the autoscaler resizes."
  value       = aws_eks_node_group.this.resources[0].autoscaling_groups[0].name
}
