variables {
  prefect_yaml     = "name: stenopool\ndeployments:\n  - {name: batch, entrypoint: flows/ingest.py:ingest, work_pool: {name: stenopool-cpu, work_queue_name: ingest-batch}}\n  - {name: gpu, entrypoint: flows/transcribe.py:transcribe, work_pool: {name: stenopool-gpu, work_queue_name: batch}}\n"
  images           = { cpu = "registry/stenopool:1.0.0-cpu", gpu = "registry/stenopool:1.0.0-cuda12" }
  namespace        = "stenopool"
  service_accounts = { cpu = "stenopool-cpu", gpu = "stenopool-gpu", api = "stenopool-api" }
  source_uri       = "s3://recordings"
  destination_uri  = "s3://transcripts"
  models_uri       = "s3://models/models"
  region           = "eu-central-1"
}

run "each_pool_its_image_and_account" {
  assert {
    condition = [for deployment in yamldecode(output.yaml).deployments : [deployment.name, deployment.work_pool.job_variables.image, deployment.work_pool.job_variables.service_account_name]] == [
      ["batch", "registry/stenopool:1.0.0-cpu", "stenopool-cpu"],
      ["gpu", "registry/stenopool:1.0.0-cuda12", "stenopool-gpu"],
    ]
    error_message = "Got ${output.yaml}"
  }

  assert {
    condition     = yamldecode(output.yaml).deployments[1].work_pool.work_queue_name == "batch" && yamldecode(output.yaml).deployments[1].work_pool.job_variables.env.STENOPOOL_MODELS__MIRROR == "s3://models/models"
    error_message = "Got ${output.yaml}"
  }
}

run "a_schedule" {
  variables {
    schedules = { nightly = { cron = "0 2 * * *", timezone = "Europe/Zurich" } }
  }

  assert {
    condition     = yamldecode(output.yaml).deployments[2].parameters == { source = "s3://recordings", destination = "s3://transcripts" } && yamldecode(output.yaml).deployments[2].concurrency_limit.collision_strategy == "CANCEL_NEW"
    error_message = "Got ${output.yaml}"
  }
}

run "arrivals" {
  variables {
    arrivals_queue_url = "https://sqs.eu-central-1.amazonaws.com/111122223333/arrivals"
  }

  assert {
    condition     = [for deployment in yamldecode(output.yaml).deployments : [deployment.entrypoint, deployment.parameters.queue_url, deployment.work_pool.job_variables.service_account_name] if can(deployment.parameters.queue_url)] == [["flows/watch.py:watch", var.arrivals_queue_url, "stenopool-cpu"]]
    error_message = "Got ${output.yaml}"
  }
}

run "our_chart" {
  variables {
    images = { cpu = "registry:5000/stenopool:1.0.0-cpu", gpu = "registry:5000/stenopool:1.0.0-cuda12" }
  }

  assert {
    condition     = yamldecode(output.chart).image == { repository = "registry:5000/stenopool", tag = "1.0.0-cpu" } && yamldecode(output.chart).serviceAccounts.api.name == "stenopool-api"
    error_message = "Got ${output.chart}"
  }
}

run "not_a_schedule" {
  command = plan

  variables {
    schedules = { nightly = { cron = "every night" } }
  }

  expect_failures = [var.schedules]
}

run "latest" {
  command = plan

  variables {
    images = { cpu = "registry/stenopool:latest", gpu = "registry/stenopool:1.0.0-cuda12" }
  }

  expect_failures = [var.images]
}

run "a_token_in_the_manifest" {
  command = plan

  variables {
    env = { HF_TOKEN = "hf_x" }
  }

  expect_failures = [var.env]
}
