terraform {
  required_version = ">= 1.11, < 2.0"

  # The state has no passwords, but names and addresses: keep it encrypted and locked, and out of git.
  # backend "s3" {
  #   bucket       = "..."
  #   key          = "stenopool-cloud.tfstate"
  #   region       = "..."
  #   encrypt      = true
  #   use_lockfile = true
  # }

  required_providers { aws = { source = "hashicorp/aws", version = "~> 6.69" } }
}

provider "aws" {
  region = var.region

  default_tags { tags = merge(var.tags, { stenopool = var.name }) }
}
