# Arrivals: the recordings bucket sends events to EventBridge, a rule selects the prefix, and a queue stores messages until they are read.

resource "aws_s3_bucket_notification" "recordings" {
  # This resource manages all notifications of a bucket: on an existing bucket, it would delete others.
  count       = contains(local.ours, "recordings") ? 1 : 0
  bucket      = aws_s3_bucket.this["recordings"].id
  eventbridge = true
}

resource "aws_cloudwatch_event_rule" "arrival" {
  count       = var.arrivals_queue ? 1 : 0
  name        = "${var.name}-arrivals"
  description = "Recordings that arrived"

  event_pattern = jsonencode({
    source        = ["aws.s3"]
    "detail-type" = ["Object Created"]
    detail = {
      bucket = { name = [local.names.recordings] }
      object = { key = [{ prefix = var.source_prefix == "" ? "" : "${var.source_prefix}/" }] }
    }
  })
}

resource "aws_cloudwatch_event_target" "arrival" {
  count = length(aws_cloudwatch_event_rule.arrival)
  rule  = aws_cloudwatch_event_rule.arrival[0].name
  arn   = aws_sqs_queue.arrivals[0].arn
}

resource "aws_sqs_queue" "arrivals" {
  count                      = var.arrivals_queue ? 1 : 0
  name                       = "${var.name}-arrivals"
  kms_master_key_id          = var.kms_key_arn
  message_retention_seconds  = 1209600 # two weeks, the maximum
  visibility_timeout_seconds = 300

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.undeliverable[0].arn
    maxReceiveCount     = 10 # a message comes back until its recordings are done, each time after twice as long: 8 hours
  })
}

resource "aws_sqs_queue" "undeliverable" {
  count                     = var.arrivals_queue ? 1 : 0
  name                      = "${var.name}-arrivals-undeliverable"
  kms_master_key_id         = var.kms_key_arn
  message_retention_seconds = 1209600
}

resource "aws_sqs_queue_policy" "arrivals" {
  count     = length(aws_sqs_queue.arrivals)
  queue_url = aws_sqs_queue.arrivals[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = aws_sqs_queue.arrivals[0].arn
      Condition = { ArnEquals = { "aws:SourceArn" = aws_cloudwatch_event_rule.arrival[0].arn } }
    }]
  })
}
