mock_provider "aws" {
  mock_data "aws_caller_identity" { defaults = { account_id = "111122223333" } }

  mock_data "aws_partition" { defaults = { partition = "aws" } }

  mock_resource "aws_sns_topic" { defaults = { arn = "arn:aws:sns:eu-central-1:111122223333:alarms" } }

  mock_resource "aws_iam_role" { defaults = { arn = "arn:aws:iam::111122223333:role/agent" } }
}

variables {
  name        = "stenopool"
  kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/1"
}

run "nothing_to_watch" {
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.this) == 0 && length(aws_budgets_budget.this) == 0 && length(aws_eks_addon.agent) == 0
    error_message = "Resources that were not requested cost money."
  }
}

run "everything_to_watch" {
  variables {
    mail_addresses         = ["ops@example.org"]
    database_identifier    = "stenopool-prefect"
    cache_node_ids         = ["stenopool-prefect-001", "stenopool-prefect-002"]
    queue_names            = { waiting = ["stenopool-arrivals"], undeliverable = ["stenopool-arrivals-undeliverable"] }
    gpu_autoscaling_groups = { spot = "eks-gpu-spot", on-demand = "eks-gpu-on-demand" }
    monthly_budget         = 500
    container_logs         = true
    cluster_name           = "stenopool"
    cluster_arn            = "arn:aws:eks:eu-central-1:111122223333:cluster/stenopool"
    kubernetes_version     = "1.34"
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.this) == 11 && length(aws_cloudwatch_metric_alarm.gpu_nodes) == 2
    error_message = "Alarms are missing: ${join(", ", keys(aws_cloudwatch_metric_alarm.this))}."
  }

  assert {
    condition     = alltrue([for alarm in merge(aws_cloudwatch_metric_alarm.this, aws_cloudwatch_metric_alarm.gpu_nodes) : alarm.alarm_actions == toset([aws_sns_topic.alarms.arn])])
    error_message = "An alarm has no recipient."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["database-storage"].comparison_operator == "LessThanThreshold" && aws_cloudwatch_metric_alarm.this["database-storage"].threshold == 3221225472
    error_message = "The alarm on free storage compares in the wrong direction."
  }

  assert {
    condition     = alltrue([for alarm in merge(aws_cloudwatch_metric_alarm.this, aws_cloudwatch_metric_alarm.gpu_nodes) : alarm.period * alarm.evaluation_periods <= 86400])
    error_message = "CloudWatch looks back at most one day."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["queue-undeliverable-messages"].dimensions.QueueName == "stenopool-arrivals-undeliverable" && aws_cloudwatch_metric_alarm.this["queue-undeliverable-messages"].threshold == 0
    error_message = "Arrivals could be lost unnoticed."
  }

  assert {
    condition     = aws_eks_addon.agent[0].addon_version == data.aws_eks_addon_version.agent[0].version
    error_message = "The agent would stay at the version of the first day."
  }

  assert {
    condition     = one(aws_budgets_budget.this[0].cost_filter).values == tolist(["user:stenopool$stenopool", "aws:eks:cluster-name$stenopool"])
    error_message = "The budget includes costs of others, or leaves out the nodes."
  }

  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.pods : group.kms_key_id == var.kms_key_arn && group.retention_in_days == 365])
    error_message = "Pod logs are not encrypted, or never expire."
  }
}

run "gpu_hours_beyond_a_day" {
  command = plan

  variables { gpu_hours = 48 }

  expect_failures = [var.gpu_hours]
}

run "not_an_address" {
  command = plan

  variables { mail_addresses = ["ops"] }

  expect_failures = [var.mail_addresses]
}

run "logs_of_no_cluster" {
  command = plan

  variables { container_logs = true }

  expect_failures = [var.container_logs]
}
