output "source_uri" {
  description = "SOURCE of `stenopool run` and of deployments."
  value       = "s3://${join("/", compact([local.names.recordings, var.source_prefix]))}"
}

output "destination_uri" {
  description = "DESTINATION of `stenopool run` and of deployments."
  value       = "s3://${join("/", compact([local.names.transcripts, var.destination_prefix]))}"
}

output "models_uri" {
  description = "STENOPOOL_MODELS__MIRROR; written by `stenopool models mirror`."
  value       = "s3://${local.names.models}/models"
}

output "bucket_arns" {
  description = "ARNs of the buckets: recordings, transcripts, models."
  value       = local.arns
  depends_on  = [aws_s3_bucket_policy.this]
}

output "arrivals_queue_url" {
  description = "URL of the queue of arrivals; null without a queue."
  value       = one(aws_sqs_queue.arrivals[*].id)
}

output "queue_names" {
  description = "Queues for alarms: messages that wait, and messages that could not be delivered."
  value       = { waiting = aws_sqs_queue.arrivals[*].name, undeliverable = aws_sqs_queue.undeliverable[*].name }
}

output "arrivals_queue_arn" {
  description = "ARN of the same queue; null without a queue."
  value       = one(aws_sqs_queue.arrivals[*].arn)
}
