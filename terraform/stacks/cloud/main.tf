# What AWS runs: network, EKS, buckets, database, cache, roles. The stack cluster installs what runs inside EKS.

module "encryption" {
  source               = "../../modules/encryption"
  name                 = var.name
  deletion_window_days = var.protect ? 30 : 7
}

module "network" {
  source = "../../modules/network"
  name   = var.name
  cidr   = var.cidr
  zones  = var.zones
  nat    = var.air_gapped ? "none" : var.nat
  # Without NAT gateways, nodes and pods reach AWS through these. With them, they would only cost money.
  interface_endpoints = var.air_gapped ? concat(
    ["autoscaling", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "logs", "monitoring", "secretsmanager", "sts"],
    var.arrivals_queue ? ["sqs"] : [],
  ) : []
  kms_key_arn = module.encryption.key_arn
}

module "cluster" {
  source                  = "../../modules/cluster"
  name                    = var.name
  kubernetes_version      = var.kubernetes_version
  auto_mode               = var.auto_mode
  subnet_ids              = module.network.private_subnet_ids
  public_access_cidrs     = var.public_access_cidrs
  administrator_role_arns = var.administrator_role_arns
  kms_key_arn             = module.encryption.key_arn
  deletion_protection     = var.protect
}

module "nodes" {
  count              = var.auto_mode ? 0 : 1
  source             = "../../modules/nodes"
  cluster_name       = module.cluster.name
  cluster_arn        = module.cluster.arn
  kubernetes_version = module.cluster.kubernetes_version
  node_role_arn      = module.cluster.node_role_arn
  subnet_ids         = module.network.private_subnet_ids
  cpu                = var.cpu_nodes
  gpu                = local.gpu
}

module "storage" {
  source                     = "../../modules/storage"
  name                       = var.name
  existing_recordings_bucket = var.recordings_bucket
  source_prefix              = var.source_prefix
  destination_prefix         = var.destination_prefix
  arrivals_queue             = var.arrivals_queue
  recordings_cold_after_days = var.recordings_cold_after_days
  kms_key_arn                = module.encryption.key_arn
  force_destroy              = !var.protect
}

module "registry" {
  source       = "../../modules/registry"
  name         = var.name
  kms_key_arn  = module.encryption.key_arn
  force_delete = !var.protect
}

module "identity" {
  source             = "../../modules/identity"
  cluster_name       = module.cluster.name
  cluster_arn        = module.cluster.arn
  bucket_arns        = module.storage.bucket_arns
  source_prefix      = var.source_prefix
  destination_prefix = var.destination_prefix
  kms_key_arns       = concat([module.encryption.key_arn], var.recordings_kms_key_arns)
  arrivals_queue_arn = module.storage.arrivals_queue_arn
}

locals {
  gpu = { instance_types = var.gpu_instance_types, max_size = var.gpu_nodes }

  passwords = {
    database = "PostgreSQL, user prefect"
    cache    = "Valkey"
    prefect  = "Prefect's pages and API, user admin"
    # Never changed: data that is encrypted with it would become unreadable.
    encryption = "Secrets that are saved in Prefect"
  }
}

module "secret" {
  for_each             = local.passwords
  source               = "../../modules/secret"
  name                 = "${var.name}/${each.key}"
  description          = each.value
  generation           = each.key == "encryption" ? 1 : var.password_generation
  recovery_window_days = var.protect ? 30 : 0
  kms_key_arn          = module.encryption.key_arn
}

module "password" {
  for_each = toset(["database", "cache"])
  source   = "../../modules/password"
  arn      = module.secret[each.key].arn
}

module "database" {
  source                   = "../../modules/database"
  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.data_subnet_ids
  client_security_group_id = module.cluster.security_group_id
  password                 = module.password["database"].value
  password_generation      = var.password_generation
  postgres_version         = var.database.postgres_version
  instance_class           = var.database.instance_class
  storage_gb               = var.database.storage_gb
  multi_az                 = var.standby
  backup_days              = var.backup_days
  apply_immediately        = var.database.apply_immediately
  deletion_protection      = var.protect
  kms_key_arn              = module.encryption.key_arn
}

module "cache" {
  source                   = "../../modules/cache"
  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.data_subnet_ids
  client_security_group_id = module.cluster.security_group_id
  password                 = module.password["cache"].value
  password_generation      = var.password_generation
  node_type                = var.cache_node_type
  replicas                 = var.standby ? 1 : 0
  kms_key_arn              = module.encryption.key_arn
}

module "observability" {
  count                  = var.alarms ? 1 : 0
  source                 = "../../modules/observability"
  name                   = var.name
  mail_addresses         = var.mail_addresses
  database_identifier    = module.database.identifier
  cache_node_ids         = module.cache.node_ids
  gpu_autoscaling_groups = merge({}, module.nodes[*].gpu_autoscaling_groups...)
  queue_names            = module.storage.queue_names
  monthly_budget         = var.monthly_budget
  container_logs         = var.container_logs
  cluster_name           = module.cluster.name
  cluster_arn            = module.cluster.arn
  kubernetes_version     = module.cluster.kubernetes_version
  kms_key_arn            = module.encryption.key_arn
  depends_on             = [module.nodes]
}

module "chart" {
  source              = "../../modules/chart"
  image               = { repository = module.registry.repository_url, version = var.stenopool_version }
  runs_namespace      = "stenopool-runs"
  service_accounts    = module.identity.service_accounts
  source_uri          = module.storage.source_uri
  destination_uri     = module.storage.destination_uri
  models_uri          = module.storage.models_uri
  region              = var.region
  cidr                = var.cidr
  dns_address         = module.cluster.dns_address
  gpus                = var.gpu_nodes
  server_replicas     = var.standby ? 2 : 1
  password_generation = var.password_generation
  ingress             = var.ingress == null ? null : { host = var.ingress.host, cidr = var.cidr }
  env                 = var.air_gapped ? { HF_HUB_OFFLINE = "1" } : {}
  schedules           = var.schedules
  arrivals_queue_url  = module.storage.arrivals_queue_url
}
