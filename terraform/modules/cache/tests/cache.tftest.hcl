mock_provider "aws" {}

variables {
  name                     = "stenopool"
  vpc_id                   = "vpc-1"
  subnet_ids               = ["subnet-a", "subnet-b"]
  client_security_group_id = "sg-cluster"
  password                 = "0123456789abcdefABCDEF"
  password_generation      = 1
  kms_key_arn              = "arn:aws:kms:eu-central-1:111122223333:key/1"
}

run "encrypted_both_ways_and_loses_nothing" {
  assert {
    condition     = aws_elasticache_replication_group.this.at_rest_encryption_enabled && aws_elasticache_replication_group.this.transit_encryption_mode == "required"
    error_message = "Messages are not encrypted at rest or in transit."
  }

  assert {
    condition     = contains([for parameter in aws_elasticache_parameter_group.this.parameter : parameter.value if parameter.name == "maxmemory-policy"], "noeviction")
    error_message = "Events and leases would be evicted when memory is short."
  }

  assert {
    condition     = aws_elasticache_replication_group.this.auth_token == null && aws_elasticache_replication_group.this.auth_token_wo == null
    error_message = "The password is in the state."
  }

  assert {
    condition     = !aws_elasticache_replication_group.this.automatic_failover_enabled && length(output.node_ids) == 1
    error_message = "One node cannot fail over."
  }
}

run "with_a_replica" {
  variables { replicas = 1 }

  assert {
    condition     = aws_elasticache_replication_group.this.automatic_failover_enabled && aws_elasticache_replication_group.this.multi_az_enabled && length(output.node_ids) == 2
    error_message = "The replica does not take over."
  }
}

run "not_a_node_type" {
  command = plan

  variables { node_type = "t4g.small" }

  expect_failures = [var.node_type]
}
