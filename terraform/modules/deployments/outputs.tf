output "yaml" {
  description = "A file for `stenopool deploy --target kubernetes --file`."
  value       = yamlencode({ deployments = local.deployments })
}

output "chart" {
  description = "Values for the chart workers/helm/stenopool."
  value       = yamlencode(local.chart)
}
