output "yaml" {
  description = "A file for `stenopool deploy --target kubernetes --file`."
  value       = yamlencode({ deployments = local.deployments })
}
