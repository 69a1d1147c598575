resource "aws_budgets_budget" "this" {
  count        = var.monthly_budget == null ? 0 : 1
  name         = var.name
  budget_type  = "COST"
  limit_amount = tostring(var.monthly_budget)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  # The tag of everything that Terraform creates, and AWS's own tag of the nodes, which Terraform does not create. Both
  # have an effect once they are activated as cost allocation tags.
  cost_filter {
    name   = "TagKeyValue"
    values = concat([format("user:stenopool$%s", var.name)], [for name in var.cluster_name[*] : format("aws:eks:cluster-name$%s", name)])
  }

  notification {
    comparison_operator       = "GREATER_THAN"
    threshold                 = 100
    threshold_type            = "PERCENTAGE"
    notification_type         = "FORECASTED"
    subscriber_sns_topic_arns = [aws_sns_topic.alarms.arn]
  }

  notification {
    comparison_operator       = "GREATER_THAN"
    threshold                 = 80
    threshold_type            = "PERCENTAGE"
    notification_type         = "ACTUAL"
    subscriber_sns_topic_arns = [aws_sns_topic.alarms.arn]
  }
}
