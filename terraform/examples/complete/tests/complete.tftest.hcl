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
  variables {
    source_prefix      = "calls"
    destination_prefix = "texts"
    mail_addresses     = ["ops@example.org"]
    monthly_budget     = 1000
  }

  assert {
    condition     = output.deploy.source == "s3://stenopool-recordings-111122223333/calls" && output.deploy.destination == "s3://stenopool-transcripts-111122223333/texts"
    error_message = "Got ${output.deploy.source} and ${output.deploy.destination}."
  }

  assert {
    condition     = [for deployment in yamldecode(output.deployments).deployments : deployment.work_pool.job_variables.service_account_name if deployment.name == "gpu"] == ["stenopool-gpu"]
    error_message = "Runs would have no permissions: ${output.deployments}"
  }

  assert {
    condition     = output.endpoints.prefect == "http://prefect-server.stenopool.svc.cluster.local:4200/api" && output.deploy.gpus == 4
    error_message = "Got ${jsonencode(output.deploy)}."
  }
}

run "air_gapped_with_karpenter_and_your_bucket" {
  command = plan

  variables {
    air_gapped        = true
    gpu_provisioner   = "karpenter"
    recordings_bucket = "calls-of-acme"
  }

  assert {
    condition     = output.deploy.source == "s3://calls-of-acme"
    error_message = "Got ${output.deploy.source}."
  }
}
