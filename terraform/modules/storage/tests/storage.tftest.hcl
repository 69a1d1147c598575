mock_provider "aws" {
  mock_data "aws_caller_identity" { defaults = { account_id = "111122223333" } }

  mock_data "aws_partition" { defaults = { partition = "aws" } }

  mock_resource "aws_sqs_queue" { defaults = { arn = "arn:aws:sqs:eu-central-1:111122223333:queue" } }

  mock_resource "aws_cloudwatch_event_rule" {
    defaults = { arn = "arn:aws:events:eu-central-1:111122223333:rule/rule" }
  }
}

variables {
  name        = "stenopool"
  kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/1"
}

run "closed_encrypted_versioned" {
  assert {
    condition     = keys(aws_s3_bucket.this) == ["models", "recordings", "transcripts"]
    error_message = "Three buckets are expected."
  }

  assert {
    condition = alltrue([
      for block in aws_s3_bucket_public_access_block.this :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ]) && length(aws_s3_bucket_public_access_block.this) == 3
    error_message = "A bucket can be made public."
  }

  assert {
    condition = alltrue([
      for bucket in aws_s3_bucket_server_side_encryption_configuration.this :
      one(one(bucket.rule).apply_server_side_encryption_by_default).kms_master_key_id == var.kms_key_arn
    ]) && length(aws_s3_bucket_server_side_encryption_configuration.this) == 3
    error_message = "A bucket is not encrypted with the installation's key."
  }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket_versioning.this : bucket.versioning_configuration[0].status == "Enabled"]) && length(aws_s3_bucket_versioning.this) == 3
    error_message = "Overwritten objects are lost."
  }

  assert {
    condition = alltrue([
      for bucket in aws_s3_bucket_policy.this : length([
        for statement in jsondecode(bucket.policy).Statement : statement
        if statement.Effect == "Deny" && try(statement.Condition.Bool["aws:SecureTransport"], "") == "false" && length(statement.Resource) == 2
      ]) == 1
    ]) && length(aws_s3_bucket_policy.this) == 3
    error_message = "A bucket can be reached without TLS."
  }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket.this : !bucket.force_destroy])
    error_message = "Recordings could be deleted with their bucket."
  }
}

run "leftovers_go_and_transcripts_stay" {
  variables { destination_prefix = "calls" }

  assert {
    condition     = alltrue([for bucket in aws_s3_bucket_lifecycle_configuration.this : bucket.rule[0].abort_incomplete_multipart_upload[0].days_after_initiation == 7])
    error_message = "Parts of interrupted uploads never expire."
  }

  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.this["transcripts"].rule[1].filter[0].prefix == "calls/.work/"
    error_message = "Checkpoints never expire, or other objects do."
  }

  assert {
    condition     = alltrue(flatten([for bucket in aws_s3_bucket_lifecycle_configuration.this : [for rule in bucket.rule : [for expiration in rule.expiration : try(expiration.days, 0) == 0 || rule.filter[0].prefix == "calls/.work/"] if rule.id != "leftovers"]]))
    error_message = "Transcripts, recordings or models would expire."
  }
}

run "addresses_for_deploy" {
  variables {
    source_prefix      = "2026/calls"
    destination_prefix = "calls"
  }

  assert {
    condition     = output.source_uri == "s3://stenopool-recordings-111122223333/2026/calls" && output.destination_uri == "s3://stenopool-transcripts-111122223333/calls"
    error_message = "Got ${output.source_uri} and ${output.destination_uri}."
  }

  assert {
    condition     = output.models_uri == "s3://stenopool-models-111122223333/models" && output.arrivals_queue_url == null
    error_message = "Got ${output.models_uri}."
  }
}

run "your_own_bucket_is_left_as_it_is" {
  variables { existing_recordings_bucket = "calls-of-acme" }

  assert {
    condition     = keys(aws_s3_bucket.this) == ["models", "transcripts"] && length(aws_s3_bucket_notification.recordings) == 0
    error_message = "The configuration of an existing bucket would be changed."
  }

  assert {
    condition     = output.source_uri == "s3://calls-of-acme" && output.bucket_arns.recordings == "arn:aws:s3:::calls-of-acme"
    error_message = "Got ${output.source_uri}."
  }
}

run "arrivals" {
  variables {
    arrivals_queue = true
    source_prefix  = "calls"
  }

  assert {
    condition     = aws_s3_bucket_notification.recordings[0].eventbridge
    error_message = "The bucket sends no events for arrivals."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.arrival[0].event_pattern).detail.object.key == [{ prefix = "calls/" }]
    error_message = "Arrivals outside the prefix are reported."
  }

  assert {
    condition     = jsondecode(aws_sqs_queue_policy.arrivals[0].policy).Statement[0].Condition.ArnEquals["aws:SourceArn"] == aws_cloudwatch_event_rule.arrival[0].arn
    error_message = "Other rules may write to the queue."
  }
}

run "a_prefix_with_a_slash" {
  command = plan

  variables { destination_prefix = "calls/" }

  expect_failures = [var.destination_prefix]
}

run "cold_too_soon" {
  command = plan

  variables { recordings_cold_after_days = 1 }

  expect_failures = [var.recordings_cold_after_days]
}
