output "topic_arn" {
  description = "Topic of the alarms; you can add subscribers."
  value       = aws_sns_topic.alarms.arn
}
