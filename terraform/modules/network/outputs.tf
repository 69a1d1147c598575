output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Where nodes and pods live."
  value       = [for subnet in aws_subnet.private : subnet.id]
}

output "public_subnet_ids" {
  description = "Where load balancers for the outside live."
  value       = [for subnet in aws_subnet.public : subnet.id]
}

output "data_subnet_ids" {
  description = "Where database and cache live."
  value       = [for subnet in aws_subnet.data : subnet.id]
}
