output "namespaces" {
  description = "Namespaces of the services and of the runs."
  value       = module.prefect.namespaces
}
