# What adds and removes nodes, inside the cluster. Auto Mode: its pool of GPU nodes. Node groups: the autoscaler, and the
# device plugin, because the AMI has only the driver and the runtime.

locals {
  labels = { "accelerator" = "nvidia", "stenopool/pool" = "gpu" }
  taint  = { key = "nvidia.com/gpu", value = "true", effect = "NoSchedule" }

  # The publishers' addresses, unless there are copies.
  charts = var.mirror == null ? null : "oci://${var.mirror}/charts"
  image  = { for name in ["cluster-autoscaler", "k8s-device-plugin"] : name => { for key, value in { repository = var.mirror == null ? null : "${var.mirror}/${name}" } : key => value if value != null } }

  node_class = {
    apiVersion = "eks.amazonaws.com/v1"
    kind       = "NodeClass"
    metadata   = { name = "gpu" }
    spec = {
      role                       = var.node_role_name
      subnetSelectorTerms        = [for id in var.subnet_ids : { id = id }]
      securityGroupSelectorTerms = [{ id = var.security_group_id }]
      # The wait for a new node is mostly the wait for its image.
      ephemeralStorage = { size = "${var.gpu.disk_gb}Gi", iops = 6000, throughput = 500 }
    }
  }

  node_pool = {
    apiVersion = "karpenter.sh/v1"
    kind       = "NodePool"
    metadata   = { name = "gpu" }
    spec = {
      template = {
        metadata = { labels = local.labels }
        spec = {
          nodeClassRef = { group = "eks.amazonaws.com", kind = "NodeClass", name = "gpu" }
          taints       = [local.taint]
          # Replaces nodes regularly, with the newest AMI; never under a running pod (karpenter.sh/do-not-disrupt).
          expireAfter = "168h"
          requirements = [
            { key = "node.kubernetes.io/instance-type", operator = "In", values = var.gpu.instance_types },
            {
              key      = "karpenter.sh/capacity-type"
              operator = "In"
              # Given both, spot is used, and on-demand if no spot capacity is available.
              values = { spot = ["spot"], on_demand = ["on-demand"], spot_with_fallback = ["spot", "on-demand"] }[var.gpu.capacity]
            },
          ]
        }
      }
      # Limits the bill.
      limits     = { "nvidia.com/gpu" = var.gpu.max_size * var.gpu.gpus_per_node }
      disruption = { consolidationPolicy = "WhenEmpty", consolidateAfter = var.empty_for }
    }
  }

  # Without this, Auto Mode accepts network policies and does not enforce them.
  network_policies = {
    apiVersion = "v1"
    kind       = "ConfigMap"
    metadata   = { name = "amazon-vpc-cni", namespace = "kube-system" }
    data       = { enable-network-policy-controller = "true" }
  }

  # EKS has no default class since 1.30: claims without a class would wait forever.
  storage_class = {
    apiVersion           = "storage.k8s.io/v1"
    kind                 = "StorageClass"
    metadata             = { name = "gp3", annotations = { "storageclass.kubernetes.io/is-default-class" = "true" } }
    provisioner          = var.auto_mode ? "ebs.csi.eks.amazonaws.com" : "ebs.csi.aws.com"
    parameters           = { type = "gp3", encrypted = "true" }
    volumeBindingMode    = "WaitForFirstConsumer"
    allowVolumeExpansion = true
  }

  ingress_class = [
    for ingress in var.ingress[*] : [
      {
        apiVersion = "eks.amazonaws.com/v1"
        kind       = "IngressClassParams"
        metadata   = { name = "alb" }
        spec       = { scheme = ingress.scheme, certificateARNs = [ingress.certificate_arn] }
      },
      {
        apiVersion = "networking.k8s.io/v1"
        kind       = "IngressClass"
        metadata   = { name = "alb" }
        spec       = { controller = "eks.amazonaws.com/alb", parameters = { apiGroup = "eks.amazonaws.com", kind = "IngressClassParams", name = "alb" } }
      },
    ]
  ]
}

# A small chart that prints its values, because kubernetes_manifest cannot plan kinds that the cluster does not know yet.
resource "helm_release" "manifests" {
  name      = "stenopool-nodes"
  namespace = "kube-system"
  chart     = "${path.module}/manifests"
  values = [yamlencode({
    manifests = concat([local.storage_class], [for group in [[local.network_policies, local.node_class, local.node_pool], flatten(local.ingress_class)] : group if var.auto_mode]...)
  })]
}

resource "helm_release" "autoscaler" {
  count      = var.auto_mode ? 0 : 1
  name       = "cluster-autoscaler"
  namespace  = "kube-system"
  repository = coalesce(local.charts, "https://kubernetes.github.io/autoscaler")
  chart      = "cluster-autoscaler"
  version    = var.autoscaler_chart_version

  values = [yamlencode({
    fullnameOverride = "cluster-autoscaler"
    # The autoscaler simulates the scheduler of its version.
    image         = merge(local.image["cluster-autoscaler"], { tag = "v${var.kubernetes_version}.0" })
    cloudProvider = "aws"
    awsRegion     = var.region
    autoDiscovery = { clusterName = var.cluster_name }
    rbac          = { serviceAccount = { name = "cluster-autoscaler" } }
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
}

resource "helm_release" "device_plugin" {
  count      = var.auto_mode ? 0 : 1
  name       = "nvidia-device-plugin"
  namespace  = "kube-system"
  repository = coalesce(local.charts, "https://nvidia.github.io/k8s-device-plugin")
  chart      = "nvidia-device-plugin"
  version    = var.device_plugin_version

  values = [yamlencode({
    image        = local.image["k8s-device-plugin"]
    nodeSelector = { accelerator = "nvidia" }
    tolerations  = [{ key = local.taint.key, operator = "Exists", effect = local.taint.effect }]
  })]
}
