mock_provider "aws" {
  mock_data "aws_caller_identity" { defaults = { account_id = "111122223333" } }

  mock_data "aws_partition" { defaults = { partition = "aws" } }

  mock_data "aws_region" { defaults = { region = "eu-central-1" } }
}

variables { name = "stenopool" }

run "turns_and_belongs_to_the_account" {
  assert {
    condition     = aws_kms_key.this.enable_key_rotation
    error_message = "The key does not rotate."
  }

  assert {
    condition     = jsondecode(aws_kms_key.this.policy).Statement[0].Principal.AWS == "arn:aws:iam::111122223333:root"
    error_message = "Without access for the account, the key becomes unmanageable."
  }

  assert {
    condition     = alltrue([for statement in jsondecode(aws_kms_key.this.policy).Statement : can(statement.Condition) if can(statement.Principal.Service)])
    error_message = "A service may use the key for other accounts."
  }
}

run "too_soon_gone" {
  command = plan

  variables { deletion_window_days = 1 }

  expect_failures = [var.deletion_window_days]
}
