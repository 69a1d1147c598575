output "gpu_autoscaling_groups" {
  description = "Autoscaling groups of GPU nodes that the autoscaler resizes, by capacity type, once nodes and add-ons are ready."
  value       = { for name, group in aws_eks_node_group.this : trimprefix(name, "gpu-") => group.resources[0].autoscaling_groups[0].name if name != "cpu" }
  depends_on  = [aws_eks_addon.this, aws_eks_pod_identity_association.autoscaler]
}
