output "node_selector" {
  description = "Labels for the node selector of pods."
  value       = { accelerator = local.labels.accelerator }
}

output "taint" {
  description = "Taint that pods must tolerate."
  value       = local.taint
}

output "autoscaling_group_names" {
  description = "Autoscaling groups that the autoscaler resizes, by capacity type; none with Karpenter."
  value       = { for name, group in aws_eks_node_group.this : name => group.resources[0].autoscaling_groups[0].name }
}
