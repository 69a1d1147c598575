mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_resource "aws_eks_node_group" {
    defaults = {
      resources = [{ autoscaling_groups = [{ name = "eks-cpu" }], remote_access_security_group_id = "" }]
    }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/volumes" }
  }
}

variables {
  cluster_name  = "stenopool"
  cluster_arn   = "arn:aws:eks:eu-central-1:111122223333:cluster/stenopool"
  node_role_arn = "arn:aws:iam::111122223333:role/node"
  subnet_ids    = ["subnet-a", "subnet-b"]
}

run "always_there_and_untainted" {
  assert {
    condition     = aws_eks_node_group.this.scaling_config[0].min_size == 2 && length(aws_eks_node_group.this.taint) == 0
    error_message = "Prefect's server needs nodes that are always on and accept any pod."
  }

  assert {
    condition     = aws_eks_node_group.this.capacity_type == "ON_DEMAND"
    error_message = "The scheduler must not be reclaimed."
  }

  assert {
    condition     = tobool(aws_launch_template.this.block_device_mappings[0].ebs[0].encrypted) && aws_launch_template.this.metadata_options[0].http_tokens == "required"
    error_message = "The disk is not encrypted, or the metadata service accepts requests without a token."
  }

  assert {
    condition     = jsondecode(aws_iam_role.volumes.assume_role_policy).Statement[0].Condition.ArnEquals["aws:SourceArn"] == var.cluster_arn
    error_message = "Pods of other clusters may assume the role."
  }
}

run "nothing_always_there" {
  command = plan

  variables {
    min_size = 0
  }

  expect_failures = [var.min_size]
}

run "less_than_the_least" {
  command = plan

  variables {
    max_size = 1
  }

  expect_failures = [var.max_size]
}
