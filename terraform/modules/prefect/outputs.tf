output "namespace" {
  description = "Namespace of the runs."
  value       = kubernetes_namespace_v1.this.metadata[0].name
}

output "api_url" {
  description = "PREFECT_API_URL inside the cluster."
  value       = "http://prefect-server.${kubernetes_namespace_v1.this.metadata[0].name}.svc.cluster.local:4200/api"
}

output "auth_secret" {
  description = "Name of the secret; its key auth-string is PREFECT_API_AUTH_STRING."
  value       = kubernetes_secret_v1.server.metadata[0].name
}
