output "ingress_class" {
  description = "Ingress class for the API's ingress; null without one."
  value       = var.auto_mode && var.ingress != null ? "alb" : null
}
