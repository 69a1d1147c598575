locals {
  # The job template of the Kubernetes pool selects and tolerates these. The device plugin needs the second label.
  labels = {
    "accelerator"            = "nvidia"
    "nvidia.com/gpu.present" = "true"
    "stenopool/pool"         = "gpu"
  }
  taint = { key = "nvidia.com/gpu", value = "true", effect = "NoSchedule" }

  # nodeadm merges this with the configuration from EKS. Weights and images of ten gigabytes are stored on the instance's
  # NVMe disks if it has any, and pulled in parallel.
  node_config = yamlencode({
    apiVersion = "node.eks.aws/v1alpha1"
    kind       = "NodeConfig"
    spec = {
      featureGates = { FastImagePull = var.fast_image_pull }
      instance     = { localStorage = { strategy = "RAID0" } }
    }
  })
}

# Lets pods request the GPUs of the nodes; the AMI has only the driver and the runtime.
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
