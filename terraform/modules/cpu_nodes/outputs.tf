output "node_group_name" {
  description = "The node group, when its nodes and the add-ons on them are ready."
  value       = aws_eks_node_group.this.node_group_name
  depends_on  = [aws_eks_addon.this, aws_eks_addon.volumes]
}

output "autoscaling_group_name" {
  description = "The group that the autoscaler sizes."
  value       = aws_eks_node_group.this.resources[0].autoscaling_groups[0].name
}
