variables {
  image            = { repository = "registry:5000/stenopool", version = "1.0.0" }
  runs_namespace   = "stenopool-runs"
  service_accounts = { cpu = "stenopool-cpu", gpu = "stenopool-gpu", api = "stenopool-api", exporter = "stenopool-exporter" }
  source_uri       = "s3://recordings"
  destination_uri  = "s3://transcripts"
  models_uri       = "s3://models/models"
  region           = "eu-central-1"
  cidr             = "10.0.0.0/16"
  gpus             = 1
  dns_address      = "172.20.0.10"
}

run "each_pool_its_image_and_account" {
  assert {
    condition     = yamldecode(output.values).image == { repository = "registry:5000/stenopool", tag = "1.0.0-cpu" } && yamldecode(output.values).runs.gpu.tag == "1.0.0-cuda12"
    error_message = "Got ${output.values}"
  }

  assert {
    condition     = yamldecode(output.values).serviceAccounts.gpu.name == "stenopool-gpu" && yamldecode(output.values).runs.env.STENOPOOL_MODELS__MIRROR == "s3://models/models"
    error_message = "Runs would have no permissions, or no weights: ${output.values}"
  }

  assert {
    condition     = yamldecode(output.values).deploy == { gpus = 1, deployments = [] } && !yamldecode(output.values).api.ingress.enabled
    error_message = "Got ${output.values}"
  }
}

run "a_schedule" {
  variables { schedules = { nightly = { cron = "0 2 * * *", timezone = "Europe/Zurich" } } }

  assert {
    condition     = yamldecode(output.values).deploy.deployments[0].parameters == { source = "s3://recordings", destination = "s3://transcripts" } && yamldecode(output.values).deploy.deployments[0].concurrency_limit.collision_strategy == "CANCEL_NEW"
    error_message = "Got ${output.values}"
  }
}

run "arrivals" {
  variables { arrivals_queue_url = "https://sqs.eu-central-1.amazonaws.com/111122223333/arrivals" }

  assert {
    condition     = [for deployment in yamldecode(output.values).deploy.deployments : [deployment.entrypoint, deployment.parameters.queue_url]] == [["flows/watch.py:watch", var.arrivals_queue_url]]
    error_message = "Got ${output.values}"
  }
}

run "pods_reach_dns_on_their_node" {
  assert {
    condition     = yamldecode(output.values).networkPolicy.dnsCidrs == ["172.20.0.10/32"]
    error_message = "In Auto Mode, no pod could look up a name: ${output.values}"
  }
}

run "a_load_balancer_reaches_the_api" {
  variables { ingress = { host = "stenopool.example.org", cidr = "10.0.0.0/16" } }

  assert {
    condition     = yamldecode(output.values).api.ingress.host == "stenopool.example.org" && yamldecode(output.values).networkPolicy.apiFromCidrs == ["10.0.0.0/16"]
    error_message = "The network policy would refuse the load balancer: ${output.values}"
  }
}

run "not_a_schedule" {
  command = plan

  variables { schedules = { nightly = { cron = "every night" } } }

  expect_failures = [var.schedules]
}

run "latest" {
  command = plan

  variables { image = { repository = "registry/stenopool", version = "latest" } }

  expect_failures = [var.image]
}

run "a_token_in_the_manifest" {
  command = plan

  variables { env = { HF_TOKEN = "hf_x" } }

  expect_failures = [var.env]
}

run "too_many_servers" {
  command = plan

  variables { server_replicas = 5 }

  expect_failures = [var.server_replicas]
}
