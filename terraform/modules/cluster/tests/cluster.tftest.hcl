mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

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
  variables {
    public_access_cidrs = ["203.0.113.7/32"]
  }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.7/32"])
    error_message = "The API is not open to exactly the given address."
  }
}

run "administrators" {
  variables {
    administrator_role_arns = ["arn:aws:iam::111122223333:role/ops"]
  }

  assert {
    condition     = length(aws_eks_access_policy_association.administrator) == 1
    error_message = "The role has no permissions."
  }
}

run "nodes_have_no_rights_on_the_network" {
  assert {
    condition     = alltrue([for attachment in aws_iam_role_policy_attachment.node : !endswith(attachment.policy_arn, "AmazonEKS_CNI_Policy")])
    error_message = "The permissions of the network plugin belong to a separate role."
  }

  assert {
    condition     = jsondecode(aws_eks_addon.network_plugin.configuration_values).enableNetworkPolicy == "true"
    error_message = "Network policies are not enforced."
  }
}

run "open_to_the_world" {
  command = plan

  variables {
    public_access_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.public_access_cidrs]
}

run "one_zone" {
  command = plan

  variables {
    subnet_ids = ["subnet-a"]
  }

  expect_failures = [var.subnet_ids]
}

run "a_version_with_its_patch" {
  command = plan

  variables {
    kubernetes_version = "1.34.1"
  }

  expect_failures = [var.kubernetes_version]
}

run "a_name_that_buckets_cannot_have" {
  command = plan

  variables {
    name = "Steno_Pool"
  }

  expect_failures = [var.name]
}
