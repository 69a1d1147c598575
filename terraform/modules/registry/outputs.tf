output "repository_url" {
  description = "Where images are pushed to: <url>:<version>-cpu and <url>:<version>-cuda12."
  value       = aws_ecr_repository.this.repository_url
}
