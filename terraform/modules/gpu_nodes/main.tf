locals {
  # What the Kubernetes work pool's job template selects and tolerates. The second label is the device plugin's.
  labels = {
    "accelerator"            = "nvidia"
    "nvidia.com/gpu.present" = "true"
    "stenopool/pool"         = "gpu"
  }
  taint = { key = "nvidia.com/gpu", value = "true", effect = "NoSchedule" }

  # nodeadm merges this with what EKS itself gives the node. Weights and images of ten gigabytes: on the instance's own
  # NVMe disks where it has any, and pulled in parallel.
  node_config = yamlencode({
    apiVersion = "node.eks.aws/v1alpha1"
    kind       = "NodeConfig"
    spec = {
      featureGates = { FastImagePull = var.fast_image_pull }
      instance     = { localStorage = { strategy = "RAID0" } }
    }
  })
}

# Makes the nodes' GPUs a resource that pods can ask for; the AMI has the driver and the runtime only.
resource "helm_release" "device_plugin" {
  name       = "nvidia-device-plugin"
  namespace  = "kube-system"
  repository = "https://nvidia.github.io/k8s-device-plugin"
  chart      = "nvidia-device-plugin"
  version    = var.device_plugin_version

  values = [yamlencode({
    nodeSelector = { accelerator = "nvidia" }
    tolerations  = [{ key = local.taint.key, operator = "Exists", effect = local.taint.effect }]
  })]
}
