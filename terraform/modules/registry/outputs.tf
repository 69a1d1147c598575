output "repository_url" {
  description = "Repository URL for pushing images: <url>:<version>-cpu and <url>:<version>-cuda12."
  value       = aws_ecr_repository.this.repository_url
}
