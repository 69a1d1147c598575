output "namespaces" {
  description = "Namespaces of the services and of the runs."
  value       = { for role, namespace in kubernetes_namespace_v1.this : role => namespace.metadata[0].name }
}
