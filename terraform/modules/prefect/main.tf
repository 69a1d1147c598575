locals {
  charts = "https://prefecthq.github.io/prefect-helm"

  # deployments/server.env becomes a ConfigMap unchanged: one source for Compose, Helm and Terraform.
  settings = {
    for line in split("\n", var.server_env) : split("=", line)[0] => join("=", slice(split("=", line), 1, length(split("=", line))))
    if can(regex("^[A-Z][A-Z0-9_]*=", line))
  }
  redis_url = "rediss://:${var.cache_password}@${var.cache.host}:${var.cache.port}/0"
}

resource "kubernetes_namespace_v1" "this" {
  metadata {
    name = var.namespace
    labels = {
      "app.kubernetes.io/part-of"          = "stenopool"
      "app.kubernetes.io/managed-by"       = "terraform"
      "pod-security.kubernetes.io/enforce" = "restricted"
      "pod-security.kubernetes.io/warn"    = "restricted"
      "pod-security.kubernetes.io/audit"   = "restricted"
    }
  }
}

# Service accounts of pods; the module identity gives each its permissions.
resource "kubernetes_service_account_v1" "this" {
  for_each                        = var.service_accounts
  automount_service_account_token = false

  metadata {
    name      = each.value
    namespace = kubernetes_namespace_v1.this.metadata[0].name
    labels = {
      "app.kubernetes.io/name"       = "stenopool"
      "app.kubernetes.io/component"  = each.key
      "app.kubernetes.io/part-of"    = "stenopool"
      "app.kubernetes.io/managed-by" = "terraform"
    }
  }
}

# The names of this ConfigMap, and of the secrets and their keys, match workers/helm/prefect-server.yaml.
resource "kubernetes_config_map_v1" "settings" {
  metadata {
    name      = "prefect-server-settings"
    namespace = kubernetes_namespace_v1.this.metadata[0].name
  }

  data = local.settings
}

resource "kubernetes_secret_v1" "server" {
  metadata {
    name      = "prefect-server"
    namespace = kubernetes_namespace_v1.this.metadata[0].name
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
    namespace = kubernetes_namespace_v1.this.metadata[0].name
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

locals {
  # Pods read settings and secrets at start, so changes restart them.
  restart = {
    "stenopool/password-generation" = tostring(var.password_generation)
    "stenopool/settings"            = sha256(jsonencode(local.settings))
  }
}

resource "helm_release" "server" {
  name       = "prefect-server"
  namespace  = kubernetes_namespace_v1.this.metadata[0].name
  repository = local.charts
  chart      = "prefect-server"
  version    = var.chart_version
  timeout    = 600
  atomic     = true # a failed upgrade is rolled back

  # Later values override earlier ones.
  values = concat([
    var.chart_values.server,
    yamlencode({
      global = { prefect = { image = { repository = var.prefect_image.repository, prefectTag = var.prefect_image.tag } } }
      server = { replicaCount = var.server_replicas, podAnnotations = local.restart }
      backgroundServices = {
        podAnnotations = local.restart
        # The URL in the secret overrides these values, which the chart requires.
        messaging = { redis = { host = var.cache.host, port = var.cache.port, ssl = true } }
      }
    }),
  ], var.server_values)

  depends_on = [kubernetes_config_map_v1.settings, kubernetes_secret_v1.server, kubernetes_secret_v1.environment]
}

resource "helm_release" "worker" {
  for_each   = toset(["cpu", "gpu"])
  name       = "prefect-worker-${each.key}"
  namespace  = kubernetes_namespace_v1.this.metadata[0].name
  repository = local.charts
  chart      = "prefect-worker"
  version    = var.chart_version
  timeout    = 600
  atomic     = true

  values = concat([
    var.chart_values.worker,
    yamlencode({
      fullnameOverride = "prefect-worker-${each.key}"
      worker = {
        image          = { repository = var.prefect_image.repository, prefectTag = var.prefect_image.worker_tag }
        config         = { workPool = "stenopool-${each.key}" }
        podAnnotations = local.restart
      }
    }),
  ], var.worker_values)

  depends_on = [helm_release.server]
}
