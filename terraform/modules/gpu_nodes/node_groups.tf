# One group for spot and one for on-demand, because a group has one capacity type. The module autoscaler prefers the
# spot group and uses the other if no spot capacity is available.

locals {
  groups = var.provisioner != "node_group" ? {} : {
    for name in { spot = ["spot"], on_demand = ["on-demand"], spot_with_fallback = ["spot", "on-demand"] }[var.capacity] :
    name => { spot = "SPOT", on-demand = "ON_DEMAND" }[name]
  }

  # The autoscaler needs these facts about a group that has no node to inspect.
  hints = merge(
    { for key, value in local.labels : "k8s.io/cluster-autoscaler/node-template/label/${key}" => value },
    {
      "k8s.io/cluster-autoscaler/node-template/taint/${local.taint.key}" = "${local.taint.value}:${local.taint.effect}"
      "k8s.io/cluster-autoscaler/node-template/resources/nvidia.com/gpu" = tostring(var.gpus_per_node)
    },
  )
  tags = { for pair in setproduct(keys(local.groups), keys(local.hints)) : "${pair[0]} ${pair[1]}" => pair }
}

resource "aws_launch_template" "this" {
  count                  = length(local.groups) > 0 ? 1 : 0
  name_prefix            = "${var.cluster_name}-gpu-"
  update_default_version = true

  user_data = base64encode(join("\n", [
    "MIME-Version: 1.0",
    "Content-Type: multipart/mixed; boundary=\"//\"",
    "",
    "--//",
    "Content-Type: application/node.eks.aws",
    "",
    local.node_config,
    "--//--",
    "",
  ]))

  metadata_options {
    # One hop: the node can get its role's credentials, its pods cannot.
    http_tokens                 = "required"
    http_endpoint               = "enabled"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.disk_gb
      iops                  = 6000
      throughput            = 500 # MB/s: the wait for a new node is mostly the wait for its image
      encrypted             = true
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "${var.cluster_name}-gpu" }
  }
}

resource "aws_eks_node_group" "this" {
  for_each               = local.groups
  cluster_name           = var.cluster_name
  node_group_name_prefix = "gpu-${each.key}-"
  node_role_arn          = var.node_role_arn
  subnet_ids             = var.subnet_ids
  ami_type               = "AL2023_x86_64_NVIDIA"
  capacity_type          = each.value
  instance_types         = var.instance_types
  labels                 = local.labels

  launch_template {
    id      = aws_launch_template.this[0].id
    version = aws_launch_template.this[0].latest_version
  }

  taint {
    key    = local.taint.key
    value  = local.taint.value
    effect = "NO_SCHEDULE"
  }

  scaling_config {
    min_size     = 0
    desired_size = 0
    max_size     = var.max_size
  }

  update_config {
    max_unavailable = 1
  }

  node_repair_config {
    enabled = true
  }

  lifecycle {
    create_before_destroy = true
    # The autoscaler changes it.
    ignore_changes = [scaling_config[0].desired_size]
  }
}

# EKS adds tags to the node group, not to the autoscaling group behind it.
resource "aws_autoscaling_group_tag" "hint" {
  for_each               = local.tags
  autoscaling_group_name = aws_eks_node_group.this[each.value[0]].resources[0].autoscaling_groups[0].name

  tag {
    key                 = each.value[1]
    value               = local.hints[each.value[1]]
    propagate_at_launch = false
  }
}
