mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/autoscaler" }
  }
}

mock_provider "helm" {}

variables {
  cluster_name = "stenopool"
  cluster_arn  = "arn:aws:eks:eu-central-1:111122223333:cluster/stenopool"
}

run "scales_this_cluster_only" {
  assert {
    condition = alltrue([
      for statement in jsondecode(aws_iam_role_policy.this.policy).Statement :
      statement.Condition.StringEquals["aws:ResourceTag/k8s.io/cluster-autoscaler/stenopool"] == "owned"
      if contains(flatten([statement.Action]), "autoscaling:SetDesiredCapacity")
    ])
    error_message = "The autoscaler may resize groups of other clusters."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.this.policy).Statement[1].Resource == "arn:aws:eks:eu-central-1:111122223333:nodegroup/stenopool/*"
    error_message = "Got ${jsondecode(aws_iam_role_policy.this.policy).Statement[1].Resource}."
  }
}

run "spot_first" {
  assert {
    condition     = yamldecode(helm_release.this.values[0]).extraArgs.expander == "priority"
    error_message = "Without the priority expander, on-demand is used as often as spot."
  }

  assert {
    condition     = yamldecode(yamldecode(helm_release.this.values[0]).expanderPriorities) == { "50" = [".*gpu-spot.*"], "10" = [".*"] }
    error_message = "Spot groups have no priority."
  }
}

run "not_a_time" {
  command = plan

  variables {
    empty_for = "soon"
  }

  expect_failures = [var.empty_for]
}
