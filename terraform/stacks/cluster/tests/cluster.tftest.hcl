mock_provider "aws" {}
mock_provider "helm" {}
mock_provider "kubernetes" {}

# Terraform cannot mock ephemeral resources yet: tests/terraform runs this with a test double for the module password.

variables {
  name                  = "stenopool"
  region                = "eu-central-1"
  endpoint              = "https://example.eks.amazonaws.com"
  certificate_authority = "----"
  kubernetes_version    = "1.34"
  auto_mode             = true
  node_role_name        = "node"
  subnet_ids            = ["subnet-a", "subnet-b"]
  security_group_id     = "sg-1"
  gpu                   = { instance_types = ["g6.2xlarge"], max_size = 1 }
  ingress               = null
  database              = { host = "db.internal", port = 5432, name = "prefect", username = "prefect" }
  cache                 = { host = "cache.internal", port = 6379 }
  secret_arns           = { database = "arn:1", cache = "arn:2", prefect = "arn:3", encryption = "arn:4" }
  password_generation   = 1
}

run "what_the_chart_expects" {
  assert {
    condition     = output.namespaces.runs == "stenopool-runs"
    error_message = "Got ${jsonencode(output.namespaces)}."
  }
}
