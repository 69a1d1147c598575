data "aws_region" "current" {}

locals {
  service_account = "cluster-autoscaler"
}

resource "aws_iam_role" "this" {
  name_prefix = "${var.cluster_name}-autoscaler-"
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

resource "aws_iam_role_policy" "this" {
  name = "scale"
  role = aws_iam_role.this.id
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

resource "aws_eks_pod_identity_association" "this" {
  cluster_name    = var.cluster_name
  namespace       = "kube-system"
  service_account = local.service_account
  role_arn        = aws_iam_role.this.arn
}

resource "helm_release" "this" {
  name       = "cluster-autoscaler"
  namespace  = "kube-system"
  repository = "https://kubernetes.github.io/autoscaler"
  chart      = "cluster-autoscaler"
  version    = var.chart_version

  values = [yamlencode({
    fullnameOverride = "cluster-autoscaler"
    cloudProvider    = "aws"
    awsRegion        = data.aws_region.current.region
    autoDiscovery    = { clusterName = var.cluster_name }
    rbac             = { serviceAccount = { name = local.service_account } }
    # Spot first. A group that gets no instances is skipped for a while, and the next one is used. As text: the
    # autoscaler requires numbers as keys, and Helm would convert them to strings.
    expanderPriorities = "50:\n  - .*gpu-spot.*\n10:\n  - .*\n"
    extraArgs = {
      expander                              = "priority"
      "scale-down-unneeded-time"            = var.empty_for
      "scale-down-delay-after-add"          = var.empty_for
      "max-node-provision-time"             = "10m"
      "skip-nodes-with-local-storage"       = false # every Stenopool pod has an emptyDir
      "skip-nodes-with-system-pods"         = false
      "balance-similar-node-groups"         = false # would balance between spot and on-demand
      "initial-node-group-backoff-duration" = "3m"
    }
    resources = { requests = { cpu = "100m", memory = "300Mi" }, limits = { memory = "600Mi" } }
  })]

  depends_on = [aws_eks_pod_identity_association.this, aws_iam_role_policy.this]
}
