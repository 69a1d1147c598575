# What comes after `terraform apply`: everything that images, `stenopool deploy` and its schedules need to know.
output "deploy" {
  description = "For `stenopool deploy --target kubernetes`: addresses, environment and the pools' job variables."
  value = {
    source      = module.storage.source_uri
    destination = module.storage.destination_uri
    namespace   = module.prefect.namespace
    registry    = module.registry.repository_url
    environment = {
      PREFECT_API_URL          = module.prefect.api_url
      STENOPOOL_MODELS__MIRROR = module.storage.models_uri
      AWS_REGION               = var.region
    }
    job_variables = {
      for pool in ["cpu", "gpu"] : pool => {
        namespace            = module.prefect.namespace
        service_account_name = module.identity.service_accounts[pool]
        env                  = { STENOPOOL_MODELS__MIRROR = module.storage.models_uri, AWS_REGION = var.region }
      }
    }
    gpus = var.gpu_nodes
  }
}

output "role_arns" {
  description = "IAM roles of runs and API."
  value       = module.identity.role_arns
}

output "endpoints" {
  description = "Where things are, inside the network."
  value = {
    kubernetes = module.cluster.endpoint
    prefect    = module.prefect.api_url
    database   = "${module.database.host}:${module.database.port}"
    cache      = "${module.cache.host}:${module.cache.port}"
  }
}

output "secret_arns" {
  description = "Where the passwords are; `prefect` is that of Prefect's user admin."
  value       = { for name, secret in module.secret : name => secret.arn }
}

output "kubeconfig" {
  description = "The command that makes kubectl know the cluster."
  value       = "aws eks update-kubeconfig --name ${var.name} --region ${var.region}"
}

output "arrivals_queue_url" {
  description = "The queue that gets a message for each recording that arrives."
  value       = module.storage.arrivals_queue_url
}

output "alarms_topic_arn" {
  description = "Where alarms are published."
  value       = module.observability.topic_arn
}
