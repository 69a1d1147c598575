output "host" {
  description = "Where the cache is; TLS only."
  value       = aws_elasticache_replication_group.this.primary_endpoint_address
}

output "port" {
  description = "Its port."
  value       = local.port
}

output "node_ids" {
  description = "What alarms know its nodes by."
  value       = [for i in range(1 + var.replicas) : "${aws_elasticache_replication_group.this.id}-${format("%03d", i + 1)}"]
}
