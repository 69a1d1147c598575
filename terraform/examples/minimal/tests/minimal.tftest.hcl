mock_provider "aws" {
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
  }

  mock_resource "aws_eks_cluster" {
    defaults = {
      arn                   = "arn:aws:eks:eu-central-1:111122223333:cluster/stenopool"
      certificate_authority = [{ data = "LS0tLQ==" }]
    }
  }

  mock_resource "aws_eks_node_group" {
    defaults = {
      resources = [{ autoscaling_groups = [{ name = "eks-group" }], remote_access_security_group_id = "" }]
    }
  }
}

mock_provider "helm" {}
mock_provider "kubernetes" {}

# Terraform cannot mock ephemeral resources yet, not even in a module that is overridden: tests/terraform runs this with a
# test double for the module secret.

variables {
  region              = "eu-central-1"
  public_access_cidrs = ["203.0.113.7/32"]
}

run "what_deploy_needs" {
  assert {
    condition     = output.deploy.source == "s3://stenopool-recordings-111122223333" && output.deploy.gpus == 1
    error_message = "Got ${jsonencode(output.deploy)}."
  }

  assert {
    condition     = output.endpoints.prefect == "http://prefect-server.stenopool.svc.cluster.local:4200/api"
    error_message = "Got ${output.endpoints.prefect}."
  }
}

run "a_trial" {
  command = plan

  variables {
    protect = false
  }

  assert {
    condition     = output.kubeconfig == "aws eks update-kubeconfig --name stenopool --region eu-central-1"
    error_message = "Got ${output.kubeconfig}."
  }
}
