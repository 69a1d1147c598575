# Shared by Prefect's servers: events, leases of slots, their order. One primary without cluster mode, because Prefect connects to one address.

locals { port = 6379 }

resource "aws_elasticache_subnet_group" "this" {
  name       = "${var.name}-cache"
  subnet_ids = var.subnet_ids
}

resource "aws_security_group" "this" {
  name_prefix = "${var.name}-cache-"
  description = "Prefect's messages"
  vpc_id      = var.vpc_id

  lifecycle { create_before_destroy = true }
}

resource "aws_vpc_security_group_ingress_rule" "this" {
  security_group_id            = aws_security_group.this.id
  description                  = "Redis protocol from the cluster"
  referenced_security_group_id = var.client_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
}

resource "aws_elasticache_parameter_group" "this" {
  name   = "${var.name}-valkey${split(".", var.valkey_version)[0]}"
  family = "valkey${split(".", var.valkey_version)[0]}"

  # By default, old keys are evicted when memory is short: here, events and leases. It is better to refuse writes.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }

  lifecycle { create_before_destroy = true }
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/${var.name}/cache"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id = "${var.name}-prefect"
  description          = "Prefect's messages"
  engine               = "valkey"
  engine_version       = var.valkey_version
  node_type            = var.node_type
  port                 = local.port
  parameter_group_name = aws_elasticache_parameter_group.this.name

  num_cache_clusters         = 1 + var.replicas
  automatic_failover_enabled = var.replicas > 0
  multi_az_enabled           = var.replicas > 0

  subnet_group_name  = aws_elasticache_subnet_group.this.name
  security_group_ids = [aws_security_group.this.id]

  at_rest_encryption_enabled = true
  kms_key_id                 = var.kms_key_arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  auth_token_wo              = var.password
  auth_token_wo_version      = var.password_generation
  # Both the old and the new password are accepted for a while, because pods restart one after another.
  auth_token_update_strategy = "ROTATE"

  snapshot_retention_limit   = var.backup_days
  auto_minor_version_upgrade = true
  apply_immediately          = true

  log_delivery_configuration {
    destination      = aws_cloudwatch_log_group.this.name
    destination_type = "cloudwatch-logs"
    log_format       = "json"
    log_type         = "slow-log"
  }
}
