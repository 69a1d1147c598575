output "values" {
  description = "Values for the chart workers/helm/stenopool, as YAML."
  value       = yamlencode(local.values)
}
