terraform {
  required_version = ">= 1.11, < 2.0"

  # As in the stack cloud, with another key.
  # backend "s3" {
  #   bucket       = "..."
  #   key          = "stenopool-cluster.tfstate"
  #   region       = "..."
  #   encrypt      = true
  #   use_lockfile = true
  # }

  required_providers {
    aws        = { source = "hashicorp/aws", version = "~> 6.69" }
    helm       = { source = "hashicorp/helm", version = "~> 3.3" }
    kubernetes = { source = "hashicorp/kubernetes", version = "~> 3.4" }
  }
}

# Only to read the passwords.
provider "aws" { region = var.region }

locals {
  # A new token for each command, rather than one in the state.
  token = {
    api_version = "client.authentication.k8s.io/v1"
    command     = "aws"
    args        = ["eks", "get-token", "--cluster-name", var.name, "--region", var.region]
  }
}

provider "kubernetes" {
  host                   = var.endpoint
  cluster_ca_certificate = var.certificate_authority

  exec {
    api_version = local.token.api_version
    command     = local.token.command
    args        = local.token.args
  }
}

provider "helm" {
  kubernetes = {
    host                   = var.endpoint
    cluster_ca_certificate = var.certificate_authority
    exec                   = local.token
  }
}
