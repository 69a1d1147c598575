mock_provider "kubernetes" {}

variables {
  database            = { host = "db.internal", port = 5432, name = "prefect", username = "prefect" }
  cache               = { host = "cache.internal", port = 6379 }
  database_password   = "0123456789abcdefDATABASE"
  cache_password      = "0123456789abcdefCACHE"
  prefect_password    = "0123456789abcdefPREFECT"
  encryption_password = "0123456789abcdefENCRYPTION0123456789ab"
  password_generation = 3
}

run "namespaces" {
  assert {
    condition     = output.namespaces == { runs = "stenopool-runs", services = "stenopool" }
    error_message = "Got ${jsonencode(output.namespaces)}."
  }

  assert {
    condition     = alltrue([for namespace in kubernetes_namespace_v1.this : namespace.metadata[0].labels["pod-security.kubernetes.io/enforce"] == "restricted"])
    error_message = "Pods could become root."
  }
}

run "no_password_in_the_state" {
  assert {
    condition     = alltrue([for secret in [kubernetes_secret_v1.server, kubernetes_secret_v1.environment, kubernetes_secret_v1.runs] : secret.data_wo == null && secret.data_wo_revision == 3])
    error_message = "A password is in the state, or does not change with its generation."
  }

  assert {
    condition     = kubernetes_secret_v1.runs.metadata[0].namespace == "stenopool-runs" && kubernetes_secret_v1.environment.metadata[0].namespace == "stenopool"
    error_message = "Runs need Prefect's password, and nothing else."
  }
}

run "runs_with_the_secrets_of_the_services" {
  command = plan

  variables { runs_namespace = "stenopool" }

  expect_failures = [var.runs_namespace]
}
