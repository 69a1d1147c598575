# Namespaces, and the secrets of Prefect's server and of its clients: what Stenopool's chart expects.

locals { redis_url = "rediss://:${var.cache_password}@${var.cache.host}:${var.cache.port}/0" }

# As in workers/helm/namespace.yaml. Runs have a separate namespace, without the other secrets.
resource "kubernetes_namespace_v1" "this" {
  for_each = { services = var.namespace, runs = var.runs_namespace }

  metadata {
    name = each.value
    labels = {
      "app.kubernetes.io/part-of"          = "stenopool"
      "app.kubernetes.io/managed-by"       = "terraform"
      "pod-security.kubernetes.io/enforce" = "restricted"
      "pod-security.kubernetes.io/warn"    = "restricted"
      "pod-security.kubernetes.io/audit"   = "restricted"
    }
  }
}

resource "kubernetes_secret_v1" "server" {
  metadata {
    name      = "prefect-server"
    namespace = kubernetes_namespace_v1.this["services"].metadata[0].name
  }

  data_wo_revision = var.password_generation
  data_wo = {
    # Prefect supports only asyncpg for PostgreSQL.
    connection-string = "postgresql+asyncpg://${var.database.username}:${var.database_password}@${var.database.host}:${var.database.port}/${var.database.name}?ssl=require"
    auth-string       = "admin:${var.prefect_password}"
  }
}

# The other secrets of stenopool/orchestration/deploy/server.py, as environment variables.
resource "kubernetes_secret_v1" "environment" {
  metadata {
    name      = "prefect-server-environment"
    namespace = kubernetes_namespace_v1.this["services"].metadata[0].name
  }

  data_wo_revision = var.password_generation
  data_wo = {
    # Key of the secrets that Prefect saves: a Fernet key is 32 bytes in base64.
    PREFECT_SERVER_ENCRYPTION_KEY = base64encode(substr(var.encryption_password, 0, 32))
    # Three parts of the server connect to Redis, each with a separate setting.
    PREFECT_REDIS_MESSAGING_URL            = local.redis_url
    PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL = local.redis_url
    PREFECT_SERVER_DOCKET_URL              = local.redis_url
  }
}

resource "kubernetes_secret_v1" "runs" {
  metadata {
    name      = "prefect-auth"
    namespace = kubernetes_namespace_v1.this["runs"].metadata[0].name
  }

  data_wo_revision = var.password_generation
  data_wo          = { auth-string = "admin:${var.prefect_password}" }
}
