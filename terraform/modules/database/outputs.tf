output "host" {
  description = "Host of the database."
  value       = aws_db_instance.this.address
}

output "port" {
  description = "Port."
  value       = local.port
}

output "database" {
  description = "Name of the database."
  value       = aws_db_instance.this.db_name
}

output "username" {
  description = "User."
  value       = aws_db_instance.this.username
}

output "identifier" {
  description = "Identifier for alarms."
  value       = aws_db_instance.this.identifier
}
