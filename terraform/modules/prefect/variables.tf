variable "namespace" {
  description = "Namespace of Prefect's server and workers, API and exporter."
  type        = string
  default     = "stenopool"
}

variable "runs_namespace" {
  description = "Namespace of the runs."
  type        = string
  default     = "stenopool-runs"

  validation {
    condition     = var.runs_namespace != var.namespace
    error_message = "Runs must not be able to read the secrets of the services."
  }
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
  description = "Raise this number when a password changes: secrets are written again."
  type        = number
}
