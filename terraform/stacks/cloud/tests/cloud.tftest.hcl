mock_provider "aws" {
  mock_data "aws_availability_zones" { defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] } }

  mock_data "aws_caller_identity" { defaults = { account_id = "111122223333" } }

  mock_data "aws_partition" { defaults = { partition = "aws" } }

  mock_data "aws_region" { defaults = { region = "eu-central-1" } }

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

# Terraform cannot mock ephemeral resources yet, not even in a module that is overridden: tests/terraform runs this with
# test doubles for the modules secret and password.

variables {
  region              = "eu-central-1"
  public_access_cidrs = ["203.0.113.7/32"]
}

run "production" {
  variables {
    source_prefix      = "calls"
    destination_prefix = "texts"
    zones              = 3
    nat                = "per_zone"
    standby            = true
    arrivals_queue     = true
    gpu_nodes          = 4
    alarms             = true
    mail_addresses     = ["ops@example.org"]
    monthly_budget     = 1000
    container_logs     = true
    schedules          = { nightly = { cron = "0 2 * * *" } }
    ingress            = { host = "stenopool.example.org", certificate_arn = "arn:aws:acm:eu-central-1:111122223333:certificate/1" }
  }

  assert {
    condition     = output.deploy.source == "s3://stenopool-recordings-111122223333/calls" && output.deploy.destination == "s3://stenopool-transcripts-111122223333/texts"
    error_message = "Got ${jsonencode(output.deploy)}."
  }

  assert {
    condition     = output.cluster.auto_mode && output.alarms_topic_arn != null && yamldecode(output.chart).deploy.gpus == 4 && yamldecode(output.chart).prefect.server.replicas == 2
    error_message = "Got ${jsonencode(output.cluster)}."
  }
}

run "a_trial_with_node_groups" {
  variables {
    auto_mode = false
    protect   = false
  }

  assert {
    condition     = output.cluster.kubernetes_version == "1.34" && output.alarms_topic_arn == null && output.arrivals_queue_url == null
    error_message = "Got ${jsonencode(output.cluster)}."
  }
}

run "air_gapped_with_your_bucket" {
  variables {
    air_gapped        = true
    arrivals_queue    = true
    recordings_bucket = "calls-of-acme"
  }

  assert {
    condition     = output.deploy.source == "s3://calls-of-acme" && yamldecode(output.chart).runs.env.HF_HUB_OFFLINE == "1"
    error_message = "Got ${output.deploy.source}, ${output.chart}."
  }
}

run "no_gpu_in_these" {
  command = plan

  variables { gpu_instance_types = ["m7i.large"] }

  expect_failures = [var.gpu_instance_types]
}

run "no_arm" {
  command = plan

  variables { gpu_instance_types = ["g5g.xlarge"] }

  expect_failures = [var.gpu_instance_types]
}

run "no_nodes_at_all" {
  command = plan

  variables { gpu_nodes = 0 }

  expect_failures = [var.gpu_nodes]
}

run "an_ingress_without_a_controller" {
  command = plan

  variables {
    auto_mode = false
    ingress   = { host = "stenopool.example.org", certificate_arn = "arn:aws:acm:eu-central-1:111122223333:certificate/1" }
  }

  expect_failures = [var.ingress]
}
