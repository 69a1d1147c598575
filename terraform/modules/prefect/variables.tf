variable "namespace" {
  description = "Namespace of server, workers and runs; the job templates' default."
  type        = string
  default     = "stenopool"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.namespace))
    error_message = "Up to 63 lower-case letters, digits and hyphens."
  }
}

variable "service_accounts" {
  description = "Service accounts to make, by role; those of the module identity."
  type        = map(string)
}

variable "database" {
  description = "Where PostgreSQL is."
  type        = object({ host = string, port = number, name = string, username = string })
}

variable "cache" {
  description = "Where Redis or Valkey is; reached over TLS."
  type        = object({ host = string, port = number })
}

variable "database_password" {
  description = "PostgreSQL's password, letters and digits; never in the state."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "cache_password" {
  description = "Redis' password, letters and digits; never in the state."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "prefect_password" {
  description = "Password of Prefect's user admin, for its pages and API; never in the state."
  type        = string
  ephemeral   = true
  sensitive   = true
}

variable "encryption_password" {
  description = "What Prefect encrypts saved secrets with; never in the state. When it changes, they can no longer be read."
  type        = string
  ephemeral   = true
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9]{32,}$", var.encryption_password))
    error_message = "At least 32 letters and digits."
  }
}

variable "password_generation" {
  description = "Raise it when a password changes: it is written anew, and pods restart."
  type        = number
}

variable "server_env" {
  description = "Text of deployments/server.env: the server's settings, one place for compose, Helm and Terraform."
  type        = string

  validation {
    condition     = can(regex("(?m)^PREFECT_SERVER_EVENTS_MESSAGING_BROKER=prefect_redis", var.server_env))
    error_message = "The server's settings must name Redis as broker: in memory, more than half of the events are lost."
  }

  validation {
    condition     = !can(regex("(?m)^[A-Z_]*(AUTH_STRING|CONNECTION_URL|ENCRYPTION_KEY|PASSWORD|MESSAGING_URL)=", var.server_env))
    error_message = "Passwords and URLs that may hold one come from secrets; here they would be in the state."
  }
}

variable "chart_values" {
  description = "Texts of workers/helm/prefect-server.yaml and prefect-worker.yaml: the charts' values, one place for Helm and Terraform."
  type        = object({ server = string, worker = string })

  validation {
    condition     = can(yamldecode(var.chart_values.server).server.basicAuth) && can(yamldecode(var.chart_values.worker).worker.apiConfig)
    error_message = "They must be values of the charts prefect-server and prefect-worker."
  }

  validation {
    condition     = strcontains(var.chart_values.worker, "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES")
    error_message = "Without its namespace the worker's observer is refused, and dead pods stay Running."
  }
}

variable "server_replicas" {
  description = "Servers that answer requests; schedulers run once beside them."
  type        = number
  default     = 1

  validation {
    condition     = var.server_replicas >= 1 && var.server_replicas <= 3
    error_message = "1 to 3: each takes up to 30 of PostgreSQL's connections."
  }
}

variable "prefect_image" {
  description = "Image of server and workers, and their tags; the version must be the one in uv.lock."
  type        = object({ repository = string, tag = string, worker_tag = string })
  default = {
    repository = "prefecthq/prefect"
    tag        = "3.8.8-python3.11"
    worker_tag = "3.8.8-python3.11-kubernetes"
  }

  validation {
    condition     = !strcontains(var.prefect_image.tag, "latest") && !strcontains(var.prefect_image.worker_tag, "latest")
    error_message = "Name a version: a latest that changes overnight has migrated databases unasked."
  }
}

variable "chart_version" {
  description = "Version of the charts prefect-server and prefect-worker, which are released together."
  type        = string
  default     = "2026.4.10163454"
}

variable "server_values" {
  description = "More values for the server's chart, as YAML; later ones go before earlier ones."
  type        = list(string)
  default     = []
}

variable "worker_values" {
  description = "More values for both workers' charts, as YAML; later ones go before earlier ones."
  type        = list(string)
  default     = []
}
