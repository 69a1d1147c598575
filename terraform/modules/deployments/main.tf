# Input of `stenopool deploy` and of Stenopool's chart: settings that are specific to this cloud.

locals {
  job_variables = {
    for pool, image in var.images : pool => {
      image                = image
      namespace            = var.namespace
      service_account_name = var.service_accounts[pool]
      env                  = merge({ AWS_REGION = var.region, STENOPOOL_MODELS__MIRROR = var.models_uri }, var.env)
    }
  }

  scheduled = {
    for name, schedule in var.schedules : name => {
      name       = name
      entrypoint = "flows/ingest.py:ingest"
      work_pool  = { name = "stenopool-cpu", work_queue_name = "ingest-batch" }
      parameters = { source = var.source_uri, destination = var.destination_uri }
      schedules  = [{ cron = schedule.cron, timezone = schedule.timezone }]
      # If a run is still in progress when the next one is due, the next one is not needed.
      concurrency_limit = { limit = 1, collision_strategy = "CANCEL_NEW" }
    }
  }

  watched = [
    for url in var.arrivals_queue_url[*] : {
      name              = "arrivals"
      entrypoint        = "flows/watch.py:watch"
      work_pool         = { name = "stenopool-cpu", work_queue_name = "ingest-interactive" }
      parameters        = { queue_url = url, source = var.source_uri, destination = var.destination_uri }
      schedules         = [{ cron = "* * * * *" }]
      concurrency_limit = { limit = 1, collision_strategy = "CANCEL_NEW" }
    }
  ]

  # Later deployments replace earlier ones of the same name: these replace those of prefect.yaml.
  deployments = [
    for deployment in concat(yamldecode(var.prefect_yaml).deployments, values(local.scheduled), local.watched) : merge(deployment, {
      work_pool = merge(deployment.work_pool, { job_variables = local.job_variables[trimprefix(deployment.work_pool.name, "stenopool-")] })
    })
  ]

  # Small services next to Prefect: the API and the exporter, from the CPU image.
  chart = {
    image = {
      repository = regex("^(.*):[^/]+$", var.images.cpu)[0]
      tag        = regex(":([^/]+)$", var.images.cpu)[0]
    }
    storage         = { region = var.region }
    serviceAccounts = { create = false, api = { name = var.service_accounts.api } }
    api             = { source = var.source_uri, destination = var.destination_uri }
  }
}
