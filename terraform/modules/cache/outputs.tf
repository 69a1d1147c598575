output "host" {
  description = "Host of the cache; TLS only."
  value       = aws_elasticache_replication_group.this.primary_endpoint_address
}

output "port" {
  description = "Port."
  value       = local.port
}

output "node_ids" {
  description = "Identifiers of the nodes, for alarms."
  value       = [for i in range(1 + var.replicas) : "${aws_elasticache_replication_group.this.id}-${format("%03d", i + 1)}"]
}
