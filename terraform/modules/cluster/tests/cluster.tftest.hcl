mock_provider "aws" {
  mock_data "aws_partition" { defaults = { partition = "aws" } }

  mock_resource "aws_eks_cluster" {
    defaults = {
      arn                   = "arn:aws:eks:eu-central-1:111122223333:cluster/stenopool"
      certificate_authority = [{ data = "LS0tLQ==" }]
    }
  }
}

variables {
  name        = "stenopool"
  subnet_ids  = ["subnet-a", "subnet-b"]
  kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/1"
}

run "closed_by_default" {
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "The Kubernetes API is open to the internet by default."
  }

  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == var.kms_key_arn
    error_message = "Secrets are not encrypted with the installation's key."
  }

  assert {
    condition     = aws_eks_cluster.this.access_config[0].authentication_mode == "API"
    error_message = "Permissions must be in access entries."
  }

  assert {
    condition     = contains(aws_eks_cluster.this.enabled_cluster_log_types, "audit")
    error_message = "No audit log."
  }
}

run "opened_to_our_addresses" {
  variables { public_access_cidrs = ["203.0.113.7/32"] }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.7/32"])
    error_message = "The API is not open to exactly the given address."
  }
}

run "administrators" {
  variables { administrator_role_arns = ["arn:aws:iam::111122223333:role/ops"] }

  assert {
    condition     = length(aws_eks_access_policy_association.administrator) == 1
    error_message = "The role has no permissions."
  }
}

run "auto_mode_manages_nodes_volumes_and_load_balancers" {
  assert {
    condition     = aws_eks_cluster.this.compute_config[0].enabled && aws_eks_cluster.this.storage_config[0].block_storage[0].enabled && aws_eks_cluster.this.kubernetes_network_config[0].elastic_load_balancing[0].enabled
    error_message = "EKS refuses a part of Auto Mode without the others."
  }

  assert {
    condition     = toset([for item in aws_iam_role_policy_attachment.control_plane : regex("AmazonEKS(.*)Policy$", item.policy_arn)[0]]) == toset(["Cluster", "Compute", "BlockStorage", "LoadBalancing", "Networking"])
    error_message = "The control plane lacks permissions for what it manages."
  }

  assert {
    condition     = cidrhost(aws_eks_cluster.this.kubernetes_network_config[0].service_ipv4_cidr, 10) == output.dns_address
    error_message = "EKS uses the tenth address of the services for DNS, not ${output.dns_address}."
  }

  assert {
    condition     = keys(aws_eks_addon.node) == ["metrics-server"]
    error_message = "Auto Mode has the rest built in: two network plugins would give addresses to pods."
  }
}

run "nodes_and_addons_follow_the_control_plane" {
  variables {
    auto_mode          = false
    kubernetes_version = "1.34"
  }

  assert {
    condition     = length(aws_eks_cluster.this.compute_config) == 0 && toset(keys(aws_eks_addon.node)) == toset(["vpc-cni", "kube-proxy", "eks-pod-identity-agent"])
    error_message = "Nodes of your own need the add-ons."
  }

  assert {
    condition     = alltrue([for name, addon in aws_eks_addon.node : addon.addon_version == data.aws_eks_addon_version.node[name].version]) && alltrue([for item in data.aws_eks_addon_version.node : item.kubernetes_version == "1.34" && item.most_recent])
    error_message = "Without a version, an add-on stays at that of the first day."
  }

  assert {
    condition     = output.kubernetes_version == "1.34"
    error_message = "Nodes follow this version."
  }
}

run "nodes_have_no_rights_on_the_network" {
  variables { auto_mode = false }

  assert {
    condition     = alltrue([for attachment in aws_iam_role_policy_attachment.node : !endswith(attachment.policy_arn, "AmazonEKS_CNI_Policy")])
    error_message = "The permissions of the network plugin belong to a separate role."
  }

  assert {
    condition     = jsondecode(aws_eks_addon.node["vpc-cni"].configuration_values).enableNetworkPolicy == "true"
    error_message = "Network policies are not enforced."
  }
}

run "open_to_the_world" {
  command = plan

  variables { public_access_cidrs = ["0.0.0.0/0"] }

  expect_failures = [var.public_access_cidrs]
}

run "one_zone" {
  command = plan

  variables { subnet_ids = ["subnet-a"] }

  expect_failures = [var.subnet_ids]
}

run "a_version_with_its_patch" {
  command = plan

  variables { kubernetes_version = "1.34.1" }

  expect_failures = [var.kubernetes_version]
}

run "a_name_that_buckets_cannot_have" {
  command = plan

  variables { name = "Steno_Pool" }

  expect_failures = [var.name]
}
