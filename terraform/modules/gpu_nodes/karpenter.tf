# For clusters with Karpenter: it chooses type, zone and capacity for each pending pod, so one pool is enough.

locals {
  karpenter = var.provisioner == "karpenter"

  node_class = {
    apiVersion = "karpenter.k8s.aws/v1"
    kind       = "EC2NodeClass"
    metadata   = { name = "gpu" }
    spec = {
      role = var.node_role_name
      # On instances with GPUs, this is the AMI with NVIDIA's driver.
      amiSelectorTerms           = [{ alias = "al2023@latest" }]
      subnetSelectorTerms        = [{ tags = { "karpenter.sh/discovery" = var.cluster_name } }]
      securityGroupSelectorTerms = [{ tags = { "karpenter.sh/discovery" = var.cluster_name } }]
      instanceStorePolicy        = "RAID0"
      userData                   = local.node_config
      metadataOptions            = { httpTokens = "required", httpPutResponseHopLimit = 1 }
      blockDeviceMappings = [{
        deviceName = "/dev/xvda"
        ebs        = { volumeType = "gp3", volumeSize = "${var.disk_gb}Gi", iops = 6000, throughput = 500, encrypted = true }
      }]
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
          nodeClassRef = { group = "karpenter.k8s.aws", kind = "EC2NodeClass", name = "gpu" }
          taints       = [local.taint]
          # Replaces nodes regularly, with the newest AMI; never under a running pod (karpenter.sh/do-not-disrupt).
          expireAfter = "168h"
          requirements = [
            { key = "node.kubernetes.io/instance-type", operator = "In", values = var.instance_types },
            {
              key      = "karpenter.sh/capacity-type"
              operator = "In"
              # Given both, Karpenter uses spot, and on-demand if no spot capacity is available.
              values = { spot = ["spot"], on_demand = ["on-demand"], spot_with_fallback = ["spot", "on-demand"] }[var.capacity]
            },
          ]
        }
      }
      # Limits the bill.
      limits     = { "nvidia.com/gpu" = var.max_size * var.gpus_per_node }
      disruption = { consolidationPolicy = "WhenEmpty", consolidateAfter = var.empty_for }
    }
  }
}

# A small chart that prints its values, because kubernetes_manifest cannot plan kinds that the cluster does not know yet.
resource "helm_release" "node_pool" {
  count     = local.karpenter ? 1 : 0
  name      = "stenopool-gpu-nodes"
  namespace = "kube-system"
  chart     = "${path.module}/manifests"
  values    = [yamlencode({ manifests = [local.node_class, local.node_pool] })]
}
