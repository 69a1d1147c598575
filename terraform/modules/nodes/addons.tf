# Add-ons that run as pods: without a node they never become active, and creating them fails.

data "aws_partition" "current" {}

locals {
  addons = {
    coredns        = null
    metrics-server = null
    # Volumes, for Prometheus.
    aws-ebs-csi-driver = "ebs-csi-controller-sa"
    # Sees faults of GPUs, which node repair then acts on.
    eks-node-monitoring-agent = null
  }

  # Service accounts with permissions in AWS.
  roles = { volumes = "ebs-csi-controller-sa", autoscaler = "cluster-autoscaler" }
}

data "aws_eks_addon_version" "this" {
  for_each           = local.addons
  addon_name         = each.key
  kubernetes_version = var.kubernetes_version
  most_recent        = true
}

resource "aws_eks_addon" "this" {
  for_each                    = local.addons
  cluster_name                = var.cluster_name
  addon_name                  = each.key
  addon_version               = data.aws_eks_addon_version.this[each.key].version
  resolve_conflicts_on_create = "OVERWRITE"
  resolve_conflicts_on_update = "OVERWRITE"

  dynamic "pod_identity_association" {
    for_each = each.value[*]
    content {
      role_arn        = aws_iam_role.this["volumes"].arn
      service_account = pod_identity_association.value
    }
  }

  depends_on = [aws_eks_node_group.this, aws_iam_role_policy_attachment.volumes]
}

resource "aws_iam_role" "this" {
  for_each    = local.roles
  name_prefix = "${var.cluster_name}-${each.key}-"
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

resource "aws_iam_role_policy_attachment" "volumes" {
  role       = aws_iam_role.this["volumes"].name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
}

# The module scaling installs the autoscaler.
resource "aws_eks_pod_identity_association" "autoscaler" {
  cluster_name    = var.cluster_name
  namespace       = "kube-system"
  service_account = local.roles.autoscaler
  role_arn        = aws_iam_role.this["autoscaler"].arn
}

resource "aws_iam_role_policy" "autoscaler" {
  name = "scale"
  role = aws_iam_role.this["autoscaler"].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        # These actions cannot be limited to a resource.
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "autoscaling:DescribeAutoScalingGroups",
          "autoscaling:DescribeAutoScalingInstances",
          "autoscaling:DescribeLaunchConfigurations",
          "autoscaling:DescribeScalingActivities",
          "autoscaling:DescribeTags",
          "ec2:DescribeImages",
          "ec2:DescribeInstanceTypes",
          "ec2:DescribeLaunchTemplateVersions",
          "ec2:GetInstanceTypesFromInstanceRequirements",
        ]
        Resource = "*"
      },
      {
        Sid      = "LookAtNodeGroups"
        Effect   = "Allow"
        Action   = "eks:DescribeNodegroup"
        Resource = "${replace(var.cluster_arn, ":cluster/", ":nodegroup/")}/*"
      },
      {
        Sid       = "Scale"
        Effect    = "Allow"
        Action    = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:ResourceTag/k8s.io/cluster-autoscaler/${var.cluster_name}" = "owned" } }
      },
    ]
  })
}
