output "node_selector" {
  description = "What pods select these nodes by."
  value       = { accelerator = local.labels.accelerator }
}

output "taint" {
  description = "What pods must tolerate."
  value       = local.taint
}

output "autoscaling_group_names" {
  description = "The groups that the autoscaler sizes, by capacity type; none with Karpenter."
  value       = { for name, group in aws_eks_node_group.this : name => group.resources[0].autoscaling_groups[0].name }
}
