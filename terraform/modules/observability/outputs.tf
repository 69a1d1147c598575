output "topic_arn" {
  description = "Where alarms are published; add subscribers of your own."
  value       = aws_sns_topic.alarms.arn
}
