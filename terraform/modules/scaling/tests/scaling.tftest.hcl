mock_provider "helm" {}

variables {
  cluster_name       = "stenopool"
  region             = "eu-central-1"
  kubernetes_version = "1.34"
  auto_mode          = true
  node_role_name     = "node"
  subnet_ids         = ["subnet-a", "subnet-b"]
  security_group_id  = "sg-1"
  gpu                = { instance_types = ["g6.2xlarge"], max_size = 3 }
}

run "auto_mode" {
  variables { ingress = { certificate_arn = "arn:aws:acm:eu-central-1:111122223333:certificate/1" } }

  assert {
    condition     = length(helm_release.autoscaler) == 0 && length(helm_release.device_plugin) == 0
    error_message = "Auto Mode has both built in: two would add nodes."
  }

  assert {
    condition     = [for item in yamldecode(helm_release.manifests.values[0]).manifests : item.kind] == ["StorageClass", "ConfigMap", "NodeClass", "NodePool", "IngressClassParams", "IngressClass"]
    error_message = "Got ${helm_release.manifests.values[0]}"
  }

  assert {
    condition     = yamldecode(helm_release.manifests.values[0]).manifests[3].spec.template.spec.taints == [{ key = "nvidia.com/gpu", value = "true", effect = "NoSchedule" }] && yamldecode(helm_release.manifests.values[0]).manifests[3].spec.template.metadata.labels.accelerator == "nvidia"
    error_message = "GPU nodes lack what the job template tolerates and selects."
  }

  assert {
    condition     = yamldecode(helm_release.manifests.values[0]).manifests[3].spec.limits["nvidia.com/gpu"] == 3
    error_message = "The bill has no limit."
  }

  assert {
    condition     = contains([for item in yamldecode(helm_release.manifests.values[0]).manifests[3].spec.template.spec.requirements : join(",", item.values) if item.key == "karpenter.sh/capacity-type"], "spot,on-demand")
    error_message = "No fallback to on-demand."
  }

  assert {
    condition     = yamldecode(helm_release.manifests.values[0]).manifests[1].data.enable-network-policy-controller == "true"
    error_message = "Network policies are not enforced."
  }

  assert {
    condition     = yamldecode(helm_release.manifests.values[0]).manifests[0].provisioner == "ebs.csi.eks.amazonaws.com" && yamldecode(helm_release.manifests.values[0]).manifests[4].spec.scheme == "internal" && output.ingress_class == "alb"
    error_message = "Got ${helm_release.manifests.values[0]}"
  }
}

run "node_groups" {
  variables { auto_mode = false }

  assert {
    condition     = [for item in yamldecode(helm_release.manifests.values[0]).manifests : [item.kind, item.provisioner]] == [["StorageClass", "ebs.csi.aws.com"]]
    error_message = "Got ${helm_release.manifests.values[0]}"
  }

  assert {
    condition     = yamldecode(helm_release.device_plugin[0].values[0]).tolerations[0].key == "nvidia.com/gpu"
    error_message = "The device plugin would not run on tainted nodes: no pod could request a GPU."
  }

  assert {
    condition     = yamldecode(helm_release.autoscaler[0].values[0]).extraArgs.expander == "priority" && yamldecode(yamldecode(helm_release.autoscaler[0].values[0]).expanderPriorities) == { "50" = [".*gpu-spot.*"], "10" = [".*"] }
    error_message = "On-demand would be used as often as spot."
  }

  assert {
    condition     = yamldecode(helm_release.autoscaler[0].values[0]).image == { tag = "v1.34.0" }
    error_message = "The autoscaler simulates another scheduler than the cluster's."
  }
}

run "air_gapped" {
  variables {
    auto_mode = false
    mirror    = "111122223333.dkr.ecr.eu-central-1.amazonaws.com"
  }

  assert {
    condition = alltrue([
      for item in concat(helm_release.autoscaler, helm_release.device_plugin) :
      item.repository == "oci://${var.mirror}/charts" && startswith(yamldecode(item.values[0]).image.repository, var.mirror)
    ])
    error_message = "A chart or an image comes from the internet: the release would wait for a pod that cannot pull."
  }
}

run "not_a_time" {
  command = plan

  variables { empty_for = "soon" }

  expect_failures = [var.empty_for]
}
