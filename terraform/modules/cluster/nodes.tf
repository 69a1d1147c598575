# Required before a node can join: its role and, without Auto Mode, the network plugin and pod identity.

resource "aws_iam_role" "node" {
  name_prefix = "${var.name}-node-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "node" {
  for_each   = toset(["AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly"])
  role       = aws_iam_role.node.name
  policy_arn = "${local.policies}/${each.key}"
}

# The network plugin has a separate role: every pod on the host network would have the permissions of the node's role.
resource "aws_iam_role" "network_plugin" {
  count       = var.auto_mode ? 0 : 1
  name_prefix = "${var.name}-vpc-cni-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = { ArnEquals = { "aws:SourceArn" = aws_eks_cluster.this.arn } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "network_plugin" {
  count      = length(aws_iam_role.network_plugin)
  role       = aws_iam_role.network_plugin[0].name
  policy_arn = "${local.policies}/AmazonEKS_CNI_Policy"
}

# Add-ons do not follow the cluster's version on their own: without a version here, they stay at that of the first day.
data "aws_eks_addon_version" "node" {
  for_each           = toset(var.auto_mode ? ["metrics-server"] : ["vpc-cni", "kube-proxy", "eks-pod-identity-agent"])
  addon_name         = each.key
  kubernetes_version = aws_eks_cluster.this.version
  most_recent        = true
}

resource "aws_eks_addon" "node" {
  for_each                    = data.aws_eks_addon_version.node
  cluster_name                = aws_eks_cluster.this.name
  addon_name                  = each.key
  addon_version               = each.value.version
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"
  # Without this, network policies are accepted but not enforced.
  configuration_values = each.key == "vpc-cni" ? jsonencode({ enableNetworkPolicy = "true" }) : null

  dynamic "pod_identity_association" {
    for_each = [for role in aws_iam_role.network_plugin : role.arn if each.key == "vpc-cni"]
    content {
      role_arn        = pod_identity_association.value
      service_account = "aws-node"
    }
  }

  depends_on = [aws_iam_role_policy_attachment.network_plugin]
}
