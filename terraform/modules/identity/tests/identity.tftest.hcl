mock_provider "aws" {
  mock_data "aws_caller_identity" { defaults = { account_id = "111122223333" } }

  mock_data "aws_region" { defaults = { region = "eu-central-1" } }

  mock_resource "aws_iam_role" { defaults = { arn = "arn:aws:iam::111122223333:role/role" } }
}

variables {
  cluster_name       = "stenopool"
  cluster_arn        = "arn:aws:eks:eu-central-1:111122223333:cluster/stenopool"
  bucket_arns        = { recordings = "arn:aws:s3:::recordings", transcripts = "arn:aws:s3:::transcripts", models = "arn:aws:s3:::models" }
  source_prefix      = "calls"
  destination_prefix = "texts"
  kms_key_arns       = ["arn:aws:kms:eu-central-1:111122223333:key/1"]
}

run "everything_is_bound_to_prefixes" {
  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_role_policy.this : [
        for statement in jsondecode(policy.policy).Statement : [
          for resource in statement.Resource : contains([
            "arn:aws:s3:::recordings", "arn:aws:s3:::recordings/calls/*", "arn:aws:s3:::transcripts", "arn:aws:s3:::transcripts/texts/*",
            "arn:aws:s3:::transcripts/texts/.api/*", "arn:aws:s3:::transcripts/texts/.callbacks/*", "arn:aws:s3:::transcripts/texts/.metrics/*",
            "arn:aws:s3:::models", "arn:aws:s3:::models/models/*", var.kms_key_arns[0],
          ], resource)
        ]
      ]
    ]))
    error_message = "A role reaches beyond its prefixes."
  }

  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_role_policy.this : [
        for statement in jsondecode(policy.policy).Statement :
        contains(["calls/*", "texts/*", "models/*"], statement.Condition.StringLike["s3:prefix"][0]) if contains(statement.Action, "s3:ListBucket")
      ]
    ]))
    error_message = "A role lists more than its prefix."
  }

  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_role_policy.this : [
        for statement in jsondecode(policy.policy).Statement : [for action in statement.Action : !strcontains(action, "*")]
      ]
    ]))
    error_message = "A role has a wildcard action."
  }

  assert {
    condition = alltrue(flatten([
      for policy in aws_iam_role_policy.this : [
        for statement in jsondecode(policy.policy).Statement : statement.Condition.StringEquals["kms:ViaService"] == ["s3.eu-central-1.amazonaws.com"]
        if contains(statement.Action, "kms:Decrypt")
      ]
    ]))
    error_message = "The key decrypts more than the buckets."
  }
}

run "gpu_pods_cannot_read_recordings" {
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.this["gpu"].policy).Statement :
      length([for resource in statement.Resource : resource if startswith(resource, "arn:aws:s3:::recordings/")]) == 0
    ])
    error_message = "`transcribe` must read the output of `prepare`, not the recordings."
  }
}

run "nobody_that_transcribes_changes_recordings" {
  assert {
    condition = alltrue(flatten([
      for role in ["cpu", "gpu"] : [
        for statement in jsondecode(aws_iam_role_policy.this[role].policy).Statement :
        length(setintersection(statement.Action, ["s3:PutObject", "s3:DeleteObject"])) == 0
        if length([for resource in statement.Resource : resource if startswith(resource, "arn:aws:s3:::recordings")]) > 0
      ]
    ]))
    error_message = "A run could overwrite or delete recordings."
  }
}

run "only_this_clusters_service_accounts" {
  assert {
    condition = alltrue([
      for name, role in aws_iam_role.this : jsondecode(role.assume_role_policy).Statement[0].Condition == {
        ArnEquals = { "aws:SourceArn" = var.cluster_arn }
        StringEquals = {
          "aws:SourceAccount"                         = "111122223333"
          "aws:RequestTag/kubernetes-namespace"       = contains(["cpu", "gpu"], name) ? "stenopool-runs" : "stenopool"
          "aws:RequestTag/kubernetes-service-account" = "stenopool-${name}"
        }
      }
    ])
    error_message = "Other pods may assume a role."
  }

  assert {
    condition     = { for name, association in aws_eks_pod_identity_association.this : name => "${association.namespace}/${association.service_account}" } == { cpu = "stenopool-runs/stenopool-cpu", gpu = "stenopool-runs/stenopool-gpu", api = "stenopool/stenopool-api", exporter = "stenopool/stenopool-exporter" }
    error_message = "A service account has no role."
  }
}

run "the_api_writes_no_transcripts" {
  assert {
    condition = join(" ", distinct(flatten([
      for statement in jsondecode(aws_iam_role_policy.this["api"].policy).Statement : statement.Resource
      if contains(statement.Action, "s3:PutObject") && !strcontains(jsonencode(statement.Resource), "recordings")
    ]))) == "arn:aws:s3:::transcripts/texts/.api/* arn:aws:s3:::transcripts/texts/.callbacks/*"
    error_message = "Got ${aws_iam_role_policy.this["api"].policy}"
  }
}

run "the_exporter_sees_no_recording_and_changes_figures_only" {
  assert {
    condition     = !strcontains(aws_iam_role_policy.this["exporter"].policy, "recordings")
    error_message = "Got ${aws_iam_role_policy.this["exporter"].policy}"
  }

  assert {
    condition = join(" ", distinct(flatten([
      for statement in jsondecode(aws_iam_role_policy.this["exporter"].policy).Statement : statement.Resource
      if length(setintersection(statement.Action, ["s3:PutObject", "s3:DeleteObject"])) > 0
    ]))) == "arn:aws:s3:::transcripts/texts/.metrics/*"
    error_message = "Got ${aws_iam_role_policy.this["exporter"].policy}"
  }
}

run "watch_reads_arrivals" {
  variables { arrivals_queue_arn = "arn:aws:sqs:eu-central-1:111122223333:arrivals" }

  assert {
    condition = length([
      for statement in jsondecode(aws_iam_role_policy.this["cpu"].policy).Statement : statement
      if try(statement.Condition.StringEquals["kms:ViaService"], []) == ["s3.eu-central-1.amazonaws.com", "sqs.eu-central-1.amazonaws.com"] || statement.Resource == ["arn:aws:sqs:eu-central-1:111122223333:arrivals"]
    ]) == 2
    error_message = "The API cannot read or decrypt arriving messages."
  }

  assert {
    condition     = alltrue([for role in ["gpu", "api", "exporter"] : !strcontains(aws_iam_role_policy.this[role].policy, "sqs")])
    error_message = "Only `watch` may read the queue."
  }
}

run "whole_buckets_are_possible" {
  variables {
    source_prefix      = ""
    destination_prefix = ""
  }

  assert {
    condition     = contains(flatten([for statement in jsondecode(aws_iam_role_policy.this["cpu"].policy).Statement : statement.Resource]), "arn:aws:s3:::recordings/*")
    error_message = "Without a prefix, the role must cover the whole bucket."
  }
}

run "one_account_for_two" {
  command = plan

  variables { service_accounts = { cpu = "stenopool", gpu = "stenopool" } }

  expect_failures = [var.service_accounts]
}

run "every_key_of_the_account" {
  command = plan

  variables { kms_key_arns = ["arn:aws:kms:eu-central-1:111122223333:key/*"] }

  expect_failures = [var.kms_key_arns]
}
