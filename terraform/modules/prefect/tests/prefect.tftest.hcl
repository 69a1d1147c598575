mock_provider "helm" {}
mock_provider "kubernetes" {}

variables {
  service_accounts    = { cpu = "stenopool-cpu", gpu = "stenopool-gpu", api = "stenopool-api" }
  database            = { host = "db.internal", port = 5432, name = "prefect", username = "prefect" }
  cache               = { host = "cache.internal", port = 6379 }
  database_password   = "0123456789abcdefDATABASE"
  cache_password      = "0123456789abcdefCACHE"
  prefect_password    = "0123456789abcdefPREFECT"
  encryption_password = "0123456789abcdefENCRYPTION0123456789ab"
  password_generation = 3
  server_env          = "# A comment = not a setting.\nPREFECT_SERVER_EVENTS_MESSAGING_BROKER=prefect_redis.messaging\n\nPREFECT_X={\"a\": \"b=c\"}\n"
}

run "settings_come_from_the_one_file" {
  assert {
    condition = yamldecode(helm_release.server.values[0]).global.prefect.env == [
      { name = "PREFECT_SERVER_EVENTS_MESSAGING_BROKER", value = "prefect_redis.messaging" },
      { name = "PREFECT_X", value = "{\"a\": \"b=c\"}" },
    ]
    error_message = "Got ${jsonencode(yamldecode(helm_release.server.values[0]).global.prefect.env)}."
  }
}

run "both_pools_have_a_worker_that_watches_its_namespace" {
  assert {
    condition     = { for name, worker in helm_release.worker : name => yamldecode(worker.values[0]).worker.config.workPool } == { cpu = "cpu", gpu = "gpu" }
    error_message = "A pool has no worker."
  }

  assert {
    condition = alltrue([
      for worker in helm_release.worker : contains(
        [for env in yamldecode(worker.values[0]).worker.extraEnvVars : env.value if env.name == "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES"], "stenopool"
      )
    ])
    error_message = "The observer would watch nothing, and dead pods stay Running."
  }

  assert {
    condition     = alltrue([for worker in helm_release.worker : yamldecode(worker.values[0]).worker.selfHostedServerApiConfig.apiUrl == output.api_url])
    error_message = "A worker asks another server."
  }
}

run "no_password_in_values_or_state" {
  assert {
    condition     = alltrue([for release in merge({ server = helm_release.server }, helm_release.worker) : !strcontains(jsonencode(release.values), "0123456789abcdef")])
    error_message = "A password is in a chart's values, and so in the state."
  }

  assert {
    condition     = kubernetes_secret_v1.server.data_wo == null && kubernetes_secret_v1.environment.data_wo == null && kubernetes_secret_v1.server.data_wo_revision == 3
    error_message = "A password is in the state."
  }

  assert {
    condition     = yamldecode(helm_release.server.values[0]).server.basicAuth.existingSecret == "prefect-server" && yamldecode(helm_release.server.values[0]).secret == { create = false, name = "prefect-server" }
    error_message = "The server does not take its passwords from the secret."
  }

  assert {
    condition     = yamldecode(helm_release.server.values[0]).server.podAnnotations["stenopool/password-generation"] == "3"
    error_message = "Pods keep the old passwords."
  }
}

run "the_charts_own_databases_are_off" {
  assert {
    condition     = !yamldecode(helm_release.server.values[0]).postgresql.enabled && !yamldecode(helm_release.server.values[0]).redis.enabled
    error_message = "The chart would start a database of its own, with a known password."
  }
}

run "service_accounts" {
  assert {
    condition     = tomap({ for role, account in kubernetes_service_account_v1.this : role => account.metadata[0].name }) == var.service_accounts
    error_message = "A service account is missing."
  }
}

run "events_in_memory" {
  command = plan

  variables {
    server_env = "PREFECT_SERVER_ANALYTICS_ENABLED=false\n"
  }

  expect_failures = [var.server_env]
}

run "a_password_in_the_settings" {
  command = plan

  variables {
    server_env = "PREFECT_SERVER_EVENTS_MESSAGING_BROKER=prefect_redis.messaging\nPREFECT_SERVER_DATABASE_CONNECTION_URL=postgresql://a:b@c/d\n"
  }

  expect_failures = [var.server_env]
}

run "latest" {
  command = plan

  variables {
    prefect_image = { repository = "prefecthq/prefect", tag = "3-latest", worker_tag = "3.8.8-python3.11-kubernetes" }
  }

  expect_failures = [var.prefect_image]
}

run "too_many_servers" {
  command = plan

  variables {
    server_replicas = 5
  }

  expect_failures = [var.server_replicas]
}
