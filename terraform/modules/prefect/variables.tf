variable "namespace" {
  description = "Namespace of server, workers and runs; default of the job templates."
  type        = string
  default     = "stenopool"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "Use up to 63 lower-case letters, digits and hyphens."
  }
}

variable "service_accounts" {
  description = "Service accounts to create, by role; from the module identity."
  type        = map(string)
}

variable "database" {
  description = "Host, port, database and user of PostgreSQL."
  type        = object({ host = string, port = number, name = string, username = string })
}

variable "cache" {
  description = "Host and port of Redis or Valkey; connected over TLS."
  type        = object({ host = string, port = number })
}

variable "database_password" {
  description = "Password of PostgreSQL, letters and digits; not in the state."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "cache_password" {
  description = "Password of Redis, letters and digits; not in the state."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "prefect_password" {
  description = "Password of Prefect's user admin, for its page and API; not in the state."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "encryption_password" {
  description = "Key with which Prefect encrypts saved secrets; not in the state. After a change, saved secrets are unreadable."
  type        = string
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9]{32,}$", var.encryption_password))
    error_message = "Use at least 32 letters and digits."
  }
}

variable "password_generation" {
  description = "Raise this number when a password changes: secrets are written again, and pods restart."
  type        = number
}

variable "server_env" {
  description = "Text of deployments/server.env: the server's settings, shared by Compose, Helm and Terraform."
  type        = string

  validation {
    condition     = can(regex("(?m)^PREFECT_SERVER_EVENTS_MESSAGING_BROKER=prefect_redis", var.server_env))
    error_message = "The settings must use Redis as broker: in memory, more than half of the events are lost."
  }

  validation {
    condition     = !can(regex("(?m)^[A-Z_]*(AUTH_STRING|CONNECTION_URL|ENCRYPTION_KEY|PASSWORD|MESSAGING_URL)=", var.server_env))
    error_message = "Passwords, and URLs that may contain one, belong in secrets; here they would be in the state."
  }
}

variable "chart_values" {
  description = "Texts of workers/helm/prefect-server.yaml and prefect-worker.yaml: values of the charts, shared by Helm and Terraform."
  type        = object({ server = string, worker = string })

  validation {
    condition     = can(yamldecode(var.chart_values.server).server.basicAuth) && can(yamldecode(var.chart_values.worker).worker.apiConfig)
    error_message = "Use values of the charts prefect-server and prefect-worker."
  }

  validation {
    condition     = strcontains(var.chart_values.worker, "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES")
    error_message = "Without its namespace, the worker's observer lacks permission, and runs of dead pods stay Running."
  }
}

variable "server_replicas" {
  description = "Number of servers for requests; one scheduler runs next to them."
  type        = number
  default     = 1

  validation {
    condition     = var.server_replicas >= 1 && var.server_replicas <= 3
    error_message = "Use 1 to 3: each needs up to 30 connections to PostgreSQL."
  }
}

variable "prefect_image" {
  description = "Image of server and workers, and its tags; the version must be that of uv.lock."
  type        = object({ repository = string, tag = string, worker_tag = string })
  default = {
    repository = "prefecthq/prefect"
    tag        = "3.8.8-python3.11"
    worker_tag = "3.8.8-python3.11-kubernetes"
  }

  validation {
    condition     = !strcontains(var.prefect_image.tag, "latest") && !strcontains(var.prefect_image.worker_tag, "latest")
    error_message = "Use a version tag: an image that changes overnight can migrate the database unexpectedly."
  }
}

variable "chart_version" {
  description = "Version of the charts prefect-server and prefect-worker, which are released together."
  type        = string
  default     = "2026.4.10163454"
}

variable "server_values" {
  description = "More values for the chart of the server, as YAML; later ones override earlier ones."
  type        = list(string)
  default     = []
}

variable "worker_values" {
  description = "More values for the charts of both workers, as YAML; later ones override earlier ones."
  type        = list(string)
  default     = []
}
