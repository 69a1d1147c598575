mock_provider "aws" {}

variables { kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/1" }

run "images_that_stay_what_they_are" {
  assert {
    condition     = aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.this.image_scanning_configuration[0].scan_on_push
    error_message = "Tags can be changed, or images are not scanned."
  }

  assert {
    condition     = aws_ecr_repository.this.encryption_configuration[0].kms_key == var.kms_key_arn
    error_message = "Images are not encrypted with the installation's key."
  }

  assert {
    condition     = [for rule in jsondecode(aws_ecr_lifecycle_policy.this.policy).rules : rule.rulePriority] == [1, 2, 3]
    error_message = "ECR refuses rules of equal priority."
  }
}

run "nothing_to_roll_back_to" {
  command = plan

  variables { keep_versions = 1 }

  expect_failures = [var.keep_versions]
}

run "a_name_that_ecr_refuses" {
  command = plan

  variables { name = "Stenopool" }

  expect_failures = [var.name]
}
