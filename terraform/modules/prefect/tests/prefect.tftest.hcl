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
  chart_values = {
    server = file("../../../workers/helm/prefect-server.yaml")
    worker = file("../../../workers/helm/prefect-worker.yaml")
  }
}

run "settings_come_from_the_one_file" {
  assert {
    condition = kubernetes_config_map_v1.settings.data == tomap({
      PREFECT_SERVER_EVENTS_MESSAGING_BROKER = "prefect_redis.messaging"
      PREFECT_X                              = "{\"a\": \"b=c\"}"
    })
    error_message = "Got ${jsonencode(kubernetes_config_map_v1.settings.data)}."
  }

  assert {
    condition     = yamldecode(helm_release.server.values[0]).server.extraEnvVarsCM == kubernetes_config_map_v1.settings.metadata[0].name
    error_message = "The server does not use these settings."
  }
}

run "both_pools_have_a_worker" {
  assert {
    condition     = { for name, worker in helm_release.worker : name => yamldecode(worker.values[1]).worker.config.workPool } == { cpu = "stenopool-cpu", gpu = "stenopool-gpu" }
    error_message = "A pool has no worker."
  }

  assert {
    condition     = alltrue([for worker in helm_release.worker : yamldecode(worker.values[0]).worker.selfHostedServerApiConfig.apiUrl == "http://prefect-server:4200/api"]) && output.api_url == "http://prefect-server.stenopool.svc.cluster.local:4200/api"
    error_message = "A worker uses another server."
  }
}

run "namespace" {
  assert {
    condition     = kubernetes_namespace_v1.this.metadata[0].labels["pod-security.kubernetes.io/enforce"] == "restricted"
    error_message = "Pods could become root."
  }
}

run "no_password_in_values_or_state" {
  assert {
    condition     = alltrue([for release in merge({ server = helm_release.server }, helm_release.worker) : !strcontains(jsonencode(release.values), "0123456789abcdef")])
    error_message = "A password is in the values of a chart, and so in the state."
  }

  assert {
    condition     = kubernetes_secret_v1.server.data_wo == null && kubernetes_secret_v1.environment.data_wo == null && kubernetes_secret_v1.server.data_wo_revision == 3
    error_message = "A password is in the state."
  }

  assert {
    condition     = yamldecode(helm_release.server.values[0]).server.basicAuth.existingSecret == kubernetes_secret_v1.server.metadata[0].name && yamldecode(helm_release.server.values[0]).secret == { create = false, name = kubernetes_secret_v1.server.metadata[0].name } && yamldecode(helm_release.server.values[0]).server.extraEnvVarsSecret == kubernetes_secret_v1.environment.metadata[0].name
    error_message = "The server does not read its passwords from the secret."
  }

  assert {
    condition     = yamldecode(helm_release.server.values[1]).server.podAnnotations["stenopool/password-generation"] == "3"
    error_message = "Pods keep the old passwords."
  }
}

run "the_charts_own_databases_are_off" {
  assert {
    condition     = !yamldecode(helm_release.server.values[0]).postgresql.enabled && !yamldecode(helm_release.server.values[0]).redis.enabled
    error_message = "The chart would start a database with a known password."
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

run "a_worker_that_would_not_watch" {
  command = plan

  variables {
    chart_values = {
      server = file("../../../workers/helm/prefect-server.yaml")
      worker = replace(file("../../../workers/helm/prefect-worker.yaml"), "OBSERVER_NAMESPACES", "OBSERVER_NAMESPACE")
    }
  }

  expect_failures = [var.chart_values]
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
