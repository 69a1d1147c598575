# For the steps after `terraform apply`.

output "deployments" {
  description = "The file for `stenopool deploy --target kubernetes --file`: `terraform output -raw deployments`."
  value       = module.deployments.yaml
}

output "chart" {
  description = "Values for the chart workers/helm/stenopool: `terraform output -raw chart`."
  value       = module.deployments.chart
}

output "deploy" {
  description = "Other values for the steps after `terraform apply`."
  value = {
    source      = module.storage.source_uri
    destination = module.storage.destination_uri
    models      = module.storage.models_uri
    namespace   = module.prefect.namespace
    registry    = module.registry.repository_url
    gpus        = 1
  }
}

output "role_arns" {
  description = "IAM roles of runs and API."
  value       = module.identity.role_arns
}

output "endpoints" {
  description = "Addresses inside the network."
  value = {
    kubernetes = module.cluster.endpoint
    prefect    = module.prefect.api_url
    database   = "${module.database.host}:${module.database.port}"
    cache      = "${module.cache.host}:${module.cache.port}"
  }
}

output "secret_arns" {
  description = "ARNs of the passwords; `prefect` is that of Prefect's user admin."
  value       = { for name, secret in module.secret : name => secret.arn }
}

output "kubeconfig" {
  description = "Command that adds the cluster to kubectl's configuration."
  value       = "aws eks update-kubeconfig --name ${var.name} --region ${var.region}"
}
