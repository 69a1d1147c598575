mock_provider "aws" {
  mock_resource "aws_eks_node_group" {
    defaults = {
      resources = [{ autoscaling_groups = [{ name = "eks-gpu" }], remote_access_security_group_id = "" }]
    }
  }
}

mock_provider "helm" {}

variables {
  cluster_name   = "stenopool"
  node_role_arn  = "arn:aws:iam::111122223333:role/node"
  node_role_name = "node"
  subnet_ids     = ["subnet-a", "subnet-b"]
}

run "what_the_job_template_selects_and_tolerates" {
  assert {
    condition     = alltrue([for group in aws_eks_node_group.this : group.labels["accelerator"] == "nvidia"])
    error_message = "Nodes lack the label accelerator=nvidia."
  }

  assert {
    condition = alltrue([
      for group in aws_eks_node_group.this : length([for taint in group.taint : taint if taint.key == "nvidia.com/gpu" && taint.effect == "NO_SCHEDULE"]) == 1
    ])
    error_message = "Nodes lack the taint nvidia.com/gpu:NoSchedule."
  }

  assert {
    condition     = alltrue([for group in aws_eks_node_group.this : group.ami_type == "AL2023_x86_64_NVIDIA"])
    error_message = "Only this AMI has NVIDIA's driver."
  }

  assert {
    condition     = yamldecode(helm_release.device_plugin.values[0]).tolerations[0].key == "nvidia.com/gpu"
    error_message = "The device plugin would not run on tainted nodes: no pod could request a GPU."
  }
}

run "from_zero_spot_first" {
  assert {
    condition     = { for name, group in aws_eks_node_group.this : name => group.capacity_type } == { spot = "SPOT", on-demand = "ON_DEMAND" }
    error_message = "A spot and an on-demand group are expected."
  }

  assert {
    condition     = alltrue([for group in aws_eks_node_group.this : group.scaling_config[0].min_size == 0 && group.scaling_config[0].desired_size == 0])
    error_message = "Idle GPU nodes cost money: groups must start at zero and scale back to zero."
  }

  assert {
    condition = length([
      for tag in aws_autoscaling_group_tag.hint : tag
      if tag.tag[0].key == "k8s.io/cluster-autoscaler/node-template/resources/nvidia.com/gpu" && tag.tag[0].value == "1"
    ]) == 2
    error_message = "The autoscaler needs this tag to scale GPUs from zero."
  }
}

run "on_demand_only" {
  variables {
    capacity = "on_demand"
  }

  assert {
    condition     = keys(aws_eks_node_group.this) == ["on-demand"]
    error_message = "One on-demand group is expected."
  }
}

run "the_disk_is_encrypted_and_the_node_role_out_of_pods_reach" {
  assert {
    condition     = tobool(aws_launch_template.this[0].block_device_mappings[0].ebs[0].encrypted)
    error_message = "The disk is not encrypted."
  }

  assert {
    condition     = aws_launch_template.this[0].metadata_options[0].http_tokens == "required" && aws_launch_template.this[0].metadata_options[0].http_put_response_hop_limit == 1
    error_message = "Pods can get the credentials of the node's role."
  }

  assert {
    condition     = yamldecode(regex("(?s)application/node.eks.aws\n\n(.*?)\n--//--", base64decode(aws_launch_template.this[0].user_data))[0]).kind == "NodeConfig"
    error_message = "nodeadm has no configuration."
  }
}

run "karpenter" {
  variables {
    provisioner = "karpenter"
    max_size    = 3
  }

  assert {
    condition     = length(aws_eks_node_group.this) == 0 && length(aws_launch_template.this) == 0
    error_message = "Karpenter and node groups would both add nodes."
  }

  assert {
    condition = yamldecode(helm_release.node_pool[0].values[0]).manifests[1].spec.template.spec.taints == [
      { key = "nvidia.com/gpu", value = "true", effect = "NoSchedule" }
    ]
    error_message = "Karpenter's nodes lack the taint."
  }

  assert {
    condition     = yamldecode(helm_release.node_pool[0].values[0]).manifests[1].spec.template.metadata.labels.accelerator == "nvidia"
    error_message = "Karpenter's nodes lack the label."
  }

  assert {
    condition     = yamldecode(helm_release.node_pool[0].values[0]).manifests[1].spec.limits["nvidia.com/gpu"] == 3
    error_message = "The bill has no limit."
  }

  assert {
    condition     = contains([for r in yamldecode(helm_release.node_pool[0].values[0]).manifests[1].spec.template.spec.requirements : join(",", r.values) if r.key == "karpenter.sh/capacity-type"], "spot,on-demand")
    error_message = "Karpenter does not fall back to on-demand."
  }
}

run "karpenter_needs_the_roles_name" {
  command = plan

  variables {
    provisioner    = "karpenter"
    node_role_name = null
  }

  expect_failures = [var.node_role_name]
}

run "no_such_capacity" {
  command = plan

  variables {
    capacity = "cheap"
  }

  expect_failures = [var.capacity]
}

run "no_gpu_in_these" {
  command = plan

  variables {
    instance_types = ["m7i.large"]
  }

  expect_failures = [var.instance_types]
}

run "no_arm" {
  command = plan

  variables {
    instance_types = ["g5g.xlarge"]
  }

  expect_failures = [var.instance_types]
}

run "no_nodes_at_all" {
  command = plan

  variables {
    max_size = 0
  }

  expect_failures = [var.max_size]
}
