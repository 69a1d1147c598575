# Values for Stenopool's chart: what is specific to this cloud. The chart installs Prefect's server and workers, API and
# exporter, and runs `stenopool deploy`.

locals {
  parent = { source = var.source_uri, destination = var.destination_uri }
  # If a run is still in progress when the next one is due, the next one is not needed.
  once = { limit = 1, collision_strategy = "CANCEL_NEW" }

  scheduled = [
    for name, schedule in var.schedules : {
      name              = name
      entrypoint        = "flows/ingest.py:ingest"
      work_pool         = { name = "stenopool-cpu", work_queue_name = "ingest-batch" }
      parameters        = local.parent
      schedules         = [{ cron = schedule.cron, timezone = schedule.timezone }]
      concurrency_limit = local.once
    }
  ]

  watched = [
    for url in var.arrivals_queue_url[*] : {
      name              = "arrivals"
      entrypoint        = "flows/watch.py:watch"
      work_pool         = { name = "stenopool-cpu", work_queue_name = "ingest-interactive" }
      parameters        = merge(local.parent, { queue_url = url })
      schedules         = [{ cron = "* * * * *" }]
      concurrency_limit = local.once
    }
  ]

  values = {
    image           = { repository = var.image.repository, tag = "${var.image.version}-cpu" }
    pods            = { annotations = { "stenopool/password-generation" = tostring(var.password_generation) } }
    prefect         = { server = { replicas = var.server_replicas } }
    storage         = { region = var.region }
    serviceAccounts = { for role, name in var.service_accounts : role => { name = name } }

    runs = {
      namespace = var.runs_namespace
      env       = merge({ STENOPOOL_MODELS__MIRROR = var.models_uri }, var.env)
      cpu       = { tag = "${var.image.version}-cpu" }
      gpu       = { tag = "${var.image.version}-cuda12" }
    }

    deploy = { gpus = var.gpus, deployments = concat(local.scheduled, local.watched) }

    api = {
      source      = var.source_uri
      destination = var.destination_uri
      ingress = {
        enabled   = var.ingress != null
        className = "alb"
        host      = var.ingress == null ? "" : var.ingress.host
        # The certificate is that of the ingress class.
        annotations = {
          "alb.ingress.kubernetes.io/target-type"      = "ip"
          "alb.ingress.kubernetes.io/listen-ports"     = jsonencode([{ HTTPS = 443 }])
          "alb.ingress.kubernetes.io/healthcheck-path" = "/health/ready"
        }
      }
    }

    networkPolicy = {
      # The load balancer connects from addresses of the network.
      apiFromCidrs  = var.ingress == null ? [] : [var.ingress.cidr]
      databaseCidrs = [var.cidr]
      # In Auto Mode, DNS is a program on each node and not a pod, so a policy that selects pods would refuse it.
      dnsCidrs = ["${var.dns_address}/32"]
    }
  }
}
