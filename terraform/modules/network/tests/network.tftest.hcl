mock_provider "aws" {
  mock_data "aws_availability_zones" { defaults = { names = ["eu-central-1a", "eu-central-1b", "eu-central-1c"] } }

  mock_data "aws_caller_identity" { defaults = { account_id = "111122223333" } }

  mock_data "aws_partition" { defaults = { partition = "aws" } }

  mock_data "aws_region" { defaults = { region = "eu-central-1" } }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:111122223333:log-group:flow" }
  }
}

variables {
  name        = "stenopool"
  kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/1"
}

run "three_zones_one_gateway" {
  assert {
    condition     = length(aws_subnet.private) == 3 && length(aws_nat_gateway.this) == 1 && length(aws_route.nat) == 3
    error_message = "Three private subnets that share one gateway are expected."
  }

  assert {
    condition     = aws_subnet.private["eu-central-1b"].cidr_block == "10.0.16.0/20" && aws_subnet.public["eu-central-1b"].cidr_block == "10.0.241.0/24" && aws_subnet.data["eu-central-1b"].cidr_block == "10.0.249.0/24"
    error_message = "Subnets are not in their zones."
  }

  assert {
    condition     = alltrue([for subnet in aws_subnet.public : subnet.map_public_ip_on_launch != true])
    error_message = "Subnets must not assign public addresses by default."
  }

  assert {
    condition     = aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" && length(aws_vpc_endpoint.s3.route_table_ids) == 3
    error_message = "Audio would pass through the NAT gateway, which charges for it."
  }

  assert {
    condition     = alltrue([for association in aws_route_table_association.data : association.route_table_id == aws_route_table.data.id])
    error_message = "Database and cache must have no route to the internet."
  }
}

run "a_gateway_per_zone" {
  variables {
    nat   = "per_zone"
    zones = 2
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 2 && alltrue([for zone, route in aws_route.nat : route.nat_gateway_id == aws_nat_gateway.this[zone].id])
    error_message = "Each zone must have its own gateway."
  }
}

run "air_gapped" {
  variables {
    nat                 = "none"
    interface_endpoints = ["ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "sts"]
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 0 && length(aws_route.nat) == 0 && length(aws_vpc_endpoint.interface) == 6
    error_message = "Expected no route to the internet and an endpoint for each service."
  }

  assert {
    condition = [for statement in jsondecode(aws_vpc_endpoint.s3.policy).Statement : try(statement.Condition.StringEquals["aws:ResourceAccount"], statement.Resource)] == [
      ["111122223333"], "arn:aws:s3:::prod-eu-central-1-starport-layer-bucket/*"
    ]
    error_message = "Recordings could be copied to a bucket of another account: ${aws_vpc_endpoint.s3.policy}"
  }
}

run "air_gapped_without_a_way_to_the_registry" {
  command = plan

  variables {
    nat                 = "none"
    interface_endpoints = ["ec2"]
  }

  expect_failures = [var.nat]
}

run "too_small" {
  command = plan

  variables { cidr = "10.0.0.0/24" }

  expect_failures = [var.cidr]
}

run "one_zone" {
  command = plan

  variables { zones = 1 }

  expect_failures = [var.zones]
}
