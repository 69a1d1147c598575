mock_provider "aws" {
  mock_data "aws_partition" { defaults = { partition = "aws" } }

  mock_data "aws_ssm_parameter" { defaults = { insecure_value = "1.34.2-20261101" } }

  mock_resource "aws_eks_node_group" {
    defaults = {
      resources = [{ autoscaling_groups = [{ name = "eks-group" }], remote_access_security_group_id = "" }]
    }
  }

  mock_resource "aws_iam_role" { defaults = { arn = "arn:aws:iam::111122223333:role/role" } }
}

variables {
  cluster_name       = "stenopool"
  cluster_arn        = "arn:aws:eks:eu-central-1:111122223333:cluster/stenopool"
  kubernetes_version = "1.34"
  node_role_arn      = "arn:aws:iam::111122223333:role/node"
  subnet_ids         = ["subnet-a", "subnet-b"]
  gpu                = { instance_types = ["g6.2xlarge"], max_size = 4 }
}

run "what_the_job_template_selects_and_tolerates" {
  assert {
    condition     = alltrue([for name, group in aws_eks_node_group.this : group.labels["accelerator"] == "nvidia" if name != "cpu"])
    error_message = "Nodes lack the label accelerator=nvidia."
  }

  assert {
    condition = alltrue([
      for name, group in aws_eks_node_group.this : join(",", [for taint in group.taint : "${taint.key} ${taint.effect}"]) == (name == "cpu" ? "" : "nvidia.com/gpu NO_SCHEDULE")
    ])
    error_message = "GPU nodes lack the taint nvidia.com/gpu:NoSchedule, or CPU nodes have it."
  }

  assert {
    condition     = { for name, group in aws_eks_node_group.this : name => group.ami_type } == { cpu = "AL2023_x86_64_STANDARD", gpu-spot = "AL2023_x86_64_NVIDIA", gpu-on-demand = "AL2023_x86_64_NVIDIA" }
    error_message = "Only the NVIDIA AMI has NVIDIA's driver."
  }
}

run "from_zero_spot_first" {
  assert {
    condition     = { for name, group in aws_eks_node_group.this : name => group.capacity_type } == { cpu = "ON_DEMAND", gpu-spot = "SPOT", gpu-on-demand = "ON_DEMAND" }
    error_message = "Prefect's scheduler must not be reclaimed; GPU nodes use spot, then on-demand."
  }

  assert {
    condition     = { for name, group in aws_eks_node_group.this : name => [group.scaling_config[0].min_size, group.scaling_config[0].desired_size] } == { cpu = [2, 2], gpu-spot = [0, 0], gpu-on-demand = [0, 0] }
    error_message = "Idle GPU nodes cost money: groups must start at zero and scale back to zero."
  }

  assert {
    condition = alltrue([
      for group in ["gpu-spot", "gpu-on-demand"] : { for key, tag in aws_autoscaling_group_tag.hint : trimprefix(tag.tag[0].key, "k8s.io/cluster-autoscaler/node-template/") => tag.tag[0].value if startswith(key, "${group} ") } == {
        "label/accelerator"                   = "nvidia"
        "label/nvidia.com/gpu.present"        = "true"
        "label/k8s.amazonaws.com/accelerator" = "nvidia"
        "taint/nvidia.com/gpu"                = "true:NoSchedule"
        "resources/nvidia.com/gpu"            = "1"
        "resources/ephemeral-storage"         = "130Gi"
      }
    ])
    error_message = "The autoscaler lacks a fact that it needs to scale GPUs from zero, or to add one node only: ${jsonencode(local.tags)}"
  }
}

run "on_demand_only" {
  variables { gpu = { instance_types = ["g6.2xlarge"], max_size = 4, capacity = "on_demand" } }

  assert {
    condition     = keys(aws_eks_node_group.this) == ["cpu", "gpu-on-demand"] && keys(output.gpu_autoscaling_groups) == ["on-demand"]
    error_message = "One on-demand group is expected."
  }
}

run "nodes_and_addons_follow_the_control_plane" {
  assert {
    condition     = alltrue([for group in aws_eks_node_group.this : group.version == "1.34" && group.release_version == "1.34.2-20261101"])
    error_message = "Nodes would stay at the version of the first day."
  }

  assert {
    condition     = [for item in data.aws_ssm_parameter.release : item.name] == [for ami in ["standard", "nvidia"] : "/aws/service/eks/optimized-ami/1.34/amazon-linux-2023/x86_64/${ami}/recommended/release_version"]
    error_message = "Got ${jsonencode([for item in data.aws_ssm_parameter.release : item.name])}."
  }

  assert {
    condition     = alltrue([for name, addon in aws_eks_addon.this : addon.addon_version == data.aws_eks_addon_version.this[name].version && data.aws_eks_addon_version.this[name].kubernetes_version == "1.34"])
    error_message = "Add-ons would stay at the version of the first day."
  }

  assert {
    condition     = contains(keys(aws_eks_addon.this), "eks-node-monitoring-agent") && alltrue([for group in aws_eks_node_group.this : group.node_repair_config[0].enabled])
    error_message = "Nodes with a broken GPU are not replaced."
  }
}

run "disks_are_encrypted_and_the_node_role_out_of_pods_reach" {
  assert {
    condition     = alltrue([for item in aws_launch_template.this : tobool(item.block_device_mappings[0].ebs[0].encrypted)])
    error_message = "A disk is not encrypted."
  }

  assert {
    condition     = alltrue([for item in aws_launch_template.this : item.metadata_options[0].http_tokens == "required" && item.metadata_options[0].http_put_response_hop_limit == 1])
    error_message = "Pods can get the credentials of the node's role."
  }

  assert {
    condition     = yamldecode(regex("(?s)application/node.eks.aws\n\n(.*?)\n--//--", base64decode(aws_launch_template.this["gpu"].user_data))[0]).kind == "NodeConfig"
    error_message = "nodeadm has no configuration."
  }

  assert {
    condition     = alltrue([for role in aws_iam_role.this : jsondecode(role.assume_role_policy).Statement[0].Condition.ArnEquals["aws:SourceArn"] == var.cluster_arn])
    error_message = "Pods of other clusters may assume the role."
  }
}

run "the_autoscaler_scales_this_cluster_only" {
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.autoscaler.policy).Statement :
      statement.Condition.StringEquals["aws:ResourceTag/k8s.io/cluster-autoscaler/stenopool"] == "owned"
      if contains(flatten([statement.Action]), "autoscaling:SetDesiredCapacity")
    ])
    error_message = "The autoscaler may resize groups of other clusters."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.autoscaler.policy).Statement[1].Resource == "arn:aws:eks:eu-central-1:111122223333:nodegroup/stenopool/*"
    error_message = "Got ${jsondecode(aws_iam_role_policy.autoscaler.policy).Statement[1].Resource}."
  }
}

run "no_such_capacity" {
  command = plan

  variables { gpu = { instance_types = ["g6.2xlarge"], max_size = 4, capacity = "cheap" } }

  expect_failures = [var.gpu]
}

run "nothing_always_on" {
  command = plan

  variables { cpu = { min_size = 0 } }

  expect_failures = [var.cpu]
}
