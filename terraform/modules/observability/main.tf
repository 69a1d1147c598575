data "aws_caller_identity" "current" {}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_policy" "alarms" {
  arn = aws_sns_topic.alarms.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"] }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.alarms.arn
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_sns_topic_subscription" "mail" {
  for_each  = var.mail_addresses
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

locals {
  # Each metric is read every five minutes; an alarm needs `periods` of them in a row.
  database_alarms = {
    cpu         = { metric = "CPUUtilization", comparison = "GreaterThanThreshold", threshold = 80, periods = 6, says = "Database CPU above 80 % for half an hour: scheduling slows down." }
    storage     = { metric = "FreeStorageSpace", comparison = "LessThanThreshold", threshold = 3 * pow(1024, 3), periods = 2, says = "The database has less than 3 GB left; it grows automatically to up to five times its size." }
    connections = { metric = "DatabaseConnections", comparison = "GreaterThanThreshold", threshold = var.database_connections, periods = 3, says = "Nearly all connections are in use: the next server replica will not get one." }
  }
  cache_alarms = {
    memory      = { metric = "DatabaseMemoryUsagePercentage", comparison = "GreaterThanThreshold", threshold = 80, periods = 3, says = "The cache is nearly full; when full, it refuses events." }
    cpu         = { metric = "EngineCPUUtilization", comparison = "GreaterThanThreshold", threshold = 90, periods = 3, says = "The cache's CPU is at its limit." }
    connections = { metric = "CurrConnections", comparison = "LessThanThreshold", threshold = 1, periods = 3, says = "The cache has no connections: Prefect's server is down or cannot reach it." }
  }
  queue_alarms = {
    waiting       = { metric = "ApproximateAgeOfOldestMessage", comparison = "GreaterThanThreshold", threshold = 6 * 3600, periods = 3, says = "A recording arrived six hours ago and is not transcribed: check the deployment `arrivals`." }
    undeliverable = { metric = "ApproximateNumberOfMessagesVisible", comparison = "GreaterThanThreshold", threshold = 0, periods = 1, says = "Arrivals were not transcribed after ten attempts. A run over the prefix finds their recordings." }
  }
  databases = { for id in var.database_identifier[*] : "database" => { namespace = "AWS/RDS", dimensions = { DBInstanceIdentifier = id }, alarms = local.database_alarms } }
  caches    = { for i, id in var.cache_node_ids : "cache-${i + 1}" => { namespace = "AWS/ElastiCache", dimensions = { CacheClusterId = id }, alarms = local.cache_alarms } }
  queues    = merge([for kind, names in var.queue_names : { for name in names : "queue-${kind}" => { namespace = "AWS/SQS", dimensions = { QueueName = name }, alarms = { messages = local.queue_alarms[kind] } } }]...)
  alarms = merge([
    for name, watched in merge(local.databases, local.caches, local.queues) : {
      for key, alarm in watched.alarms : "${name}-${key}" => merge(alarm, { namespace = watched.namespace, dimensions = watched.dimensions })
    }
  ]...)
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.says
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  statistic           = "Average"
  period              = 300
  evaluation_periods  = each.value.periods
  treat_missing_data  = each.value.namespace == "AWS/SQS" ? "notBreaching" : "breaching" # what reports nothing is down; an unused queue reports nothing
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

# GPU nodes that are never removed are the largest cost of a forgotten installation.
resource "aws_cloudwatch_metric_alarm" "gpu_nodes" {
  for_each            = var.gpu_autoscaling_groups
  alarm_name          = "${var.name}-gpu-nodes-${each.key}"
  alarm_description   = "GPU nodes (${each.key}) have been up for ${var.gpu_hours} hours without a break. Check whether there is work for them, or whether something prevents their removal."
  namespace           = "AWS/AutoScaling"
  metric_name         = "GroupInServiceInstances"
  dimensions          = { AutoScalingGroupName = each.value }
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  statistic           = "Minimum"
  period              = 3600
  evaluation_periods  = var.gpu_hours
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
}
