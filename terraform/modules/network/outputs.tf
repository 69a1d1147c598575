output "vpc_id" {
  description = "ID of the network."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Private subnets, for nodes and pods."
  value       = [for subnet in aws_subnet.private : subnet.id]
}

output "public_subnet_ids" {
  description = "Public subnets, for external load balancers."
  value       = [for subnet in aws_subnet.public : subnet.id]
}

output "data_subnet_ids" {
  description = "Isolated subnets, for database and cache."
  value       = [for subnet in aws_subnet.data : subnet.id]
}
