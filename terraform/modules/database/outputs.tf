output "host" {
  description = "Where the database is."
  value       = aws_db_instance.this.address
}

output "port" {
  description = "Its port."
  value       = local.port
}

output "database" {
  description = "The database's name."
  value       = aws_db_instance.this.db_name
}

output "username" {
  description = "Its user."
  value       = aws_db_instance.this.username
}

output "identifier" {
  description = "What alarms know it by."
  value       = aws_db_instance.this.identifier
}
