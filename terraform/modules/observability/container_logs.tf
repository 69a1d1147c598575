# Keeps pod logs when pods are gone: Prefect has the logs of runs, but not why a pod was killed.

data "aws_partition" "current" {}

locals { log_groups = var.container_logs ? toset(["application", "dataplane", "host", "performance"]) : toset([]) }

# Otherwise the agent creates them, unencrypted and without expiry.
resource "aws_cloudwatch_log_group" "pods" {
  for_each          = local.log_groups
  name              = "/aws/containerinsights/${var.cluster_name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_iam_role" "agent" {
  count       = var.container_logs ? 1 : 0
  name_prefix = "${var.name}-cloudwatch-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = { ArnEquals = { "aws:SourceArn" = var.cluster_arn } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "agent" {
  count      = length(aws_iam_role.agent)
  role       = aws_iam_role.agent[0].name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/CloudWatchAgentServerPolicy"
}

data "aws_eks_addon_version" "agent" {
  count              = length(aws_iam_role.agent)
  addon_name         = "amazon-cloudwatch-observability"
  kubernetes_version = var.kubernetes_version
  most_recent        = true
}

resource "aws_eks_addon" "agent" {
  count                       = length(aws_iam_role.agent)
  cluster_name                = var.cluster_name
  addon_name                  = "amazon-cloudwatch-observability"
  addon_version               = data.aws_eks_addon_version.agent[0].version
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  pod_identity_association {
    role_arn        = aws_iam_role.agent[0].arn
    service_account = "cloudwatch-agent"
  }

  depends_on = [aws_cloudwatch_log_group.pods, aws_iam_role_policy_attachment.agent]
}
