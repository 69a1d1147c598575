data "aws_partition" "current" {}

locals {
  policies = "arn:${data.aws_partition.current.partition}:iam::aws:policy"
  # In Auto Mode, the control plane also manages nodes, volumes, load balancers and the network.
  auto    = var.auto_mode ? ["auto"] : []
  managed = var.auto_mode ? ["Compute", "BlockStorage", "LoadBalancing", "Networking"] : []
}

resource "aws_cloudwatch_log_group" "control_plane" {
  # EKS writes to this name. Otherwise it creates the group, unencrypted and without expiry.
  name              = "/aws/eks/${var.name}/cluster"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_iam_role" "control_plane" {
  name_prefix = "${var.name}-cluster-"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
    }]
  })
}

resource "aws_iam_role_policy_attachment" "control_plane" {
  for_each   = toset(concat(["Cluster"], local.managed))
  role       = aws_iam_role.control_plane.name
  policy_arn = "${local.policies}/AmazonEKS${each.key}Policy"
}

resource "aws_iam_role_policy" "control_plane" {
  name = "encrypt-secrets"
  role = aws_iam_role.control_plane.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:ListGrants"]
      Resource = var.kms_key_arn
    }]
  })
}

resource "aws_eks_cluster" "this" {
  name                          = var.name
  version                       = var.kubernetes_version
  role_arn                      = aws_iam_role.control_plane.arn
  enabled_cluster_log_types     = ["api", "audit", "authenticator", "controllerManager", "scheduler"]
  deletion_protection           = var.deletion_protection
  bootstrap_self_managed_addons = false

  vpc_config {
    subnet_ids              = var.subnet_ids
    endpoint_private_access = true
    endpoint_public_access  = length(var.public_access_cidrs) > 0
    public_access_cidrs     = length(var.public_access_cidrs) > 0 ? var.public_access_cidrs : null
  }

  access_config {
    # Permissions are in access entries, not in a config map that can lock everyone out.
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = true
  }

  # The three belong together: EKS refuses one without the others.
  dynamic "compute_config" {
    for_each = local.auto
    content {
      enabled       = true
      node_pools    = ["general-purpose"] # the module scaling adds the pool of GPU nodes
      node_role_arn = aws_iam_role.node.arn
    }
  }

  dynamic "storage_config" {
    for_each = local.auto
    content {
      block_storage { enabled = true }
    }
  }

  kubernetes_network_config {
    service_ipv4_cidr = var.service_cidr

    dynamic "elastic_load_balancing" {
      for_each = local.auto
      content {
        enabled = true
      }
    }
  }

  encryption_config {
    resources = ["secrets"]

    provider { key_arn = var.kms_key_arn }
  }

  upgrade_policy {
    # Extended support costs several times as much per hour; with STANDARD, EKS upgrades before it starts.
    support_type = "STANDARD"
  }

  depends_on = [
    aws_iam_role_policy_attachment.control_plane,
    aws_iam_role_policy.control_plane,
    aws_iam_role_policy_attachment.node,
    aws_cloudwatch_log_group.control_plane,
  ]
}

resource "aws_eks_access_entry" "administrator" {
  for_each      = var.administrator_role_arns
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.value
}

resource "aws_eks_access_policy_association" "administrator" {
  for_each      = aws_eks_access_entry.administrator
  cluster_name  = aws_eks_cluster.this.name
  principal_arn = each.value.principal_arn
  policy_arn    = "arn:${data.aws_partition.current.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

  access_scope { type = "cluster" }
}
