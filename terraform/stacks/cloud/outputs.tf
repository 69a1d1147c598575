# For the steps after `terraform apply`.

output "cluster" {
  description = "Variables of the stack cluster: `terraform output -json cluster > ../cluster/cloud.auto.tfvars.json`."
  value = {
    name                  = var.name
    region                = var.region
    endpoint              = module.cluster.endpoint
    certificate_authority = module.cluster.certificate_authority
    kubernetes_version    = module.cluster.kubernetes_version
    auto_mode             = var.auto_mode
    node_role_name        = module.cluster.node_role_name
    subnet_ids            = module.network.private_subnet_ids
    security_group_id     = module.cluster.security_group_id
    gpu                   = local.gpu
    ingress               = var.ingress
    database              = { host = module.database.host, port = module.database.port, name = module.database.database, username = module.database.username }
    cache                 = { host = module.cache.host, port = module.cache.port }
    secret_arns           = { for name, secret in module.secret : name => secret.arn }
    password_generation   = var.password_generation
  }
  depends_on = [module.nodes]
}

output "chart" {
  description = "Values for the chart workers/helm/stenopool: `terraform output -raw chart`."
  value       = module.chart.values
}

output "deploy" {
  description = "Other values for the steps after `terraform apply`."
  value = {
    source      = module.storage.source_uri
    destination = module.storage.destination_uri
    models      = module.storage.models_uri
    registry    = module.registry.repository_url
  }
}

output "role_arns" {
  description = "IAM roles of runs and API."
  value       = module.identity.role_arns
}

output "secret_arns" {
  description = "ARNs of the passwords; `prefect` is that of Prefect's user admin."
  value       = { for name, secret in module.secret : name => secret.arn }
}

output "kubeconfig" {
  description = "Command that adds the cluster to kubectl's configuration."
  value       = "aws eks update-kubeconfig --name ${var.name} --region ${var.region}"
}

output "arrivals_queue_url" {
  description = "URL of the queue that gets a message for each arriving recording; null without one."
  value       = module.storage.arrivals_queue_url
}

output "alarms_topic_arn" {
  description = "Topic of the alarms; null without them."
  value       = one(module.observability[*].topic_arn)
}
