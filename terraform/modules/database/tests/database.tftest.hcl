mock_provider "aws" {
  mock_data "aws_partition" { defaults = { partition = "aws" } }

  mock_resource "aws_security_group" { defaults = { id = "sg-0123" } }

  mock_resource "aws_iam_role" { defaults = { arn = "arn:aws:iam::111122223333:role/monitoring" } }
}

variables {
  name                     = "stenopool"
  vpc_id                   = "vpc-1"
  subnet_ids               = ["subnet-a", "subnet-b"]
  client_security_group_id = "sg-cluster"
  password                 = "0123456789abcdefABCDEF"
  password_generation      = 1
  kms_key_arn              = "arn:aws:kms:eu-central-1:111122223333:key/1"
}

run "inside_encrypted_and_kept" {
  assert {
    condition     = aws_db_instance.this.storage_encrypted && !aws_db_instance.this.publicly_accessible
    error_message = "The database is not encrypted, or is reachable from the internet."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.this.referenced_security_group_id == "sg-cluster" && aws_vpc_security_group_ingress_rule.this.cidr_ipv4 == null
    error_message = "Clients outside the cluster may connect."
  }

  assert {
    condition     = contains([for parameter in aws_db_parameter_group.this.parameter : parameter.value if parameter.name == "rds.force_ssl"], "1")
    error_message = "Connections without TLS are accepted."
  }

  assert {
    condition     = aws_db_instance.this.deletion_protection && !aws_db_instance.this.skip_final_snapshot && aws_db_instance.this.backup_retention_period == 7
    error_message = "The database can be lost."
  }

  assert {
    condition     = aws_db_instance.this.password == null && aws_db_instance.this.password_wo == null
    error_message = "The password is in the state."
  }
}

run "a_second_destroy_also_leaves_a_snapshot" {
  assert {
    condition     = aws_db_instance.this.final_snapshot_identifier == "stenopool-prefect-final-0123"
    error_message = "The name of the first database's snapshot is taken: ${aws_db_instance.this.final_snapshot_identifier}."
  }
}

run "a_trial_goes_without_a_trace" {
  variables { deletion_protection = false }

  assert {
    condition     = aws_db_instance.this.skip_final_snapshot
    error_message = "A snapshot would be left behind."
  }
}

run "a_password_that_breaks_the_url" {
  command = plan

  variables { password = "p@ss/word:0123456789" }

  expect_failures = [var.password]
}

run "a_minor_version" {
  command = plan

  variables { postgres_version = "17.2" }

  expect_failures = [var.postgres_version]
}

run "no_backups" {
  command = plan

  variables { backup_days = 0 }

  expect_failures = [var.backup_days]
}
