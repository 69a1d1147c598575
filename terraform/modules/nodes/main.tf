# Node groups that the autoscaler resizes: one for CPU work, and one for each capacity type of GPU nodes, because a group
# has one capacity type. The module scaling prefers the spot group and uses the other if no spot capacity is available.

locals {
  # The job template of the GPU pool selects and tolerates these. The device plugin needs the second label. Without the
  # third, the autoscaler takes a node whose GPU is not registered yet for one that will never have any, and adds another.
  gpu_labels = {
    "accelerator"                   = "nvidia"
    "nvidia.com/gpu.present"        = "true"
    "k8s.amazonaws.com/accelerator" = "nvidia"
  }
  gpu_taint = { key = "nvidia.com/gpu", value = "true", effect = "NO_SCHEDULE" }

  pools = {
    cpu = { sizes = var.cpu, labels = {}, taints = [], resources = {}, ami = "standard", type = "STANDARD", iops = null, throughput = null }
    # Fast disks: the wait for a new node is mostly the wait for its image.
    gpu = { sizes = merge(var.gpu, { min_size = 0 }), labels = local.gpu_labels, taints = [local.gpu_taint], resources = { "nvidia.com/gpu" = tostring(var.gpu.gpus_per_node) }, ami = "nvidia", type = "NVIDIA", iops = 6000, throughput = 500 }
  }

  groups = merge({ cpu = { pool = "cpu", capacity = "ON_DEMAND" } }, {
    for name in { spot = ["spot"], on_demand = ["on-demand"], spot_with_fallback = ["spot", "on-demand"] }[var.gpu.capacity] :
    "gpu-${name}" => { pool = "gpu", capacity = { spot = "SPOT", on-demand = "ON_DEMAND" }[name] }
  })

  # The autoscaler needs these facts about a group that has no node to inspect. It knows cores and memory of an instance
  # type, and no other resource: without node-template/resources/ephemeral-storage, no pod that requests scratch space adds
  # the first node.
  hints = {
    for pool, spec in local.pools : pool => merge(
      { for key, value in spec.labels : "label/${key}" => value },
      { for taint in spec.taints : "taint/${taint.key}" => "${taint.value}:NoSchedule" },
      { for name, value in merge(spec.resources, { "ephemeral-storage" = "${spec.sizes.disk_gb - 20}Gi" }) : "resources/${name}" => value },
    )
  }
  tags = merge([for name, group in local.groups : { for key, value in local.hints[group.pool] : "${name} ${key}" => { group = name, key = key, value = value } }]...)
}

# Nodes do not follow the control plane on their own, and get no security fixes: each apply uses the newest AMI.
data "aws_ssm_parameter" "release" {
  for_each = local.pools
  name     = "/aws/service/eks/optimized-ami/${var.kubernetes_version}/amazon-linux-2023/x86_64/${each.value.ami}/recommended/release_version"
}

resource "aws_launch_template" "this" {
  for_each               = local.pools
  name_prefix            = "${var.cluster_name}-${each.key}-"
  update_default_version = true

  # nodeadm merges this with the configuration from EKS. Weights and images of ten gigabytes are stored on the instance's
  # NVMe disks if it has any, and pulled in parallel.
  user_data = base64encode(join("\n", [
    "MIME-Version: 1.0",
    "Content-Type: multipart/mixed; boundary=\"//\"",
    "",
    "--//",
    "Content-Type: application/node.eks.aws",
    "",
    yamlencode({
      apiVersion = "node.eks.aws/v1alpha1"
      kind       = "NodeConfig"
      spec       = { featureGates = { FastImagePull = var.fast_image_pull }, instance = { localStorage = { strategy = "RAID0" } } }
    }),
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
      volume_size           = each.value.sizes.disk_gb
      iops                  = each.value.iops
      throughput            = each.value.throughput # MB/s
      encrypted             = true
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "${var.cluster_name}-${each.key}" }
  }
}

resource "aws_eks_node_group" "this" {
  for_each               = local.groups
  cluster_name           = var.cluster_name
  node_group_name_prefix = "${each.key}-"
  node_role_arn          = var.node_role_arn
  subnet_ids             = var.subnet_ids
  version                = var.kubernetes_version
  release_version        = data.aws_ssm_parameter.release[each.value.pool].insecure_value
  ami_type               = "AL2023_x86_64_${local.pools[each.value.pool].type}"
  capacity_type          = each.value.capacity
  instance_types         = local.pools[each.value.pool].sizes.instance_types
  labels                 = merge(local.pools[each.value.pool].labels, { "stenopool/pool" = each.value.pool })

  launch_template {
    id      = aws_launch_template.this[each.value.pool].id
    version = aws_launch_template.this[each.value.pool].latest_version
  }

  dynamic "taint" {
    for_each = local.pools[each.value.pool].taints
    content {
      key    = taint.value.key
      value  = taint.value.value
      effect = taint.value.effect
    }
  }

  scaling_config {
    min_size     = local.pools[each.value.pool].sizes.min_size
    desired_size = local.pools[each.value.pool].sizes.min_size
    max_size     = local.pools[each.value.pool].sizes.max_size
  }

  update_config { max_unavailable = 1 }

  node_repair_config { enabled = true }

  lifecycle {
    create_before_destroy = true
    # The autoscaler changes it.
    ignore_changes = [scaling_config[0].desired_size]
  }
}

# EKS adds tags to the node group, not to the autoscaling group behind it.
resource "aws_autoscaling_group_tag" "hint" {
  for_each               = local.tags
  autoscaling_group_name = aws_eks_node_group.this[each.value.group].resources[0].autoscaling_groups[0].name

  tag {
    key                 = "k8s.io/cluster-autoscaler/node-template/${each.value.key}"
    value               = each.value.value
    propagate_at_launch = false
  }
}
