# Production: three zones, standbys, alarms, a budget, a queue for arrivals, prefixes, pod logs.

module "encryption" {
  source = "../../modules/encryption"
  name   = var.name
}

module "network" {
  source              = "../../modules/network"
  name                = var.name
  cidr                = var.cidr
  zones               = 3
  nat                 = var.air_gapped ? "none" : "per_zone"
  interface_endpoints = ["autoscaling", "ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "logs", "monitoring", "sts"]
  kms_key_arn         = module.encryption.key_arn
}

module "cluster" {
  source                  = "../../modules/cluster"
  name                    = var.name
  kubernetes_version      = var.kubernetes_version
  subnet_ids              = module.network.private_subnet_ids
  public_access_cidrs     = var.public_access_cidrs
  administrator_role_arns = var.administrator_role_arns
  kms_key_arn             = module.encryption.key_arn
}

module "cpu_nodes" {
  source        = "../../modules/cpu_nodes"
  cluster_name  = module.cluster.name
  cluster_arn   = module.cluster.arn
  node_role_arn = module.cluster.node_role_arn
  subnet_ids    = module.network.private_subnet_ids
  min_size      = 3 # one in each zone
  max_size      = 12
}

module "autoscaler" {
  source       = "../../modules/autoscaler"
  cluster_name = module.cluster.name
  cluster_arn  = module.cluster.arn
  depends_on   = [module.cpu_nodes]
}

module "gpu_nodes" {
  source         = "../../modules/gpu_nodes"
  cluster_name   = module.cluster.name
  node_role_arn  = module.cluster.node_role_arn
  node_role_name = module.cluster.node_role_name
  subnet_ids     = module.network.private_subnet_ids
  provisioner    = var.gpu_provisioner
  instance_types = var.gpu_instance_types
  max_size       = var.gpu_nodes
  depends_on     = [module.cpu_nodes]
}

module "storage" {
  source                     = "../../modules/storage"
  name                       = var.name
  existing_recordings_bucket = var.recordings_bucket
  source_prefix              = var.source_prefix
  destination_prefix         = var.destination_prefix
  arrivals_queue             = true
  recordings_cold_after_days = 90
  kms_key_arn                = module.encryption.key_arn
}

module "registry" {
  source      = "../../modules/registry"
  name        = var.name
  kms_key_arn = module.encryption.key_arn
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
  passwords = {
    database = "PostgreSQL, user prefect"
    cache    = "Valkey"
    prefect  = "Prefect's pages and API, user admin"
    # Never changed: data that is encrypted with it would become unreadable.
    encryption = "Secrets that are saved in Prefect"
  }
}

module "secret" {
  for_each    = local.passwords
  source      = "../../modules/secret"
  name        = "${var.name}/${each.key}"
  description = each.value
  generation  = each.key == "encryption" ? 1 : var.password_generation
  kms_key_arn = module.encryption.key_arn
}

module "database" {
  source                   = "../../modules/database"
  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.data_subnet_ids
  client_security_group_id = module.cluster.security_group_id
  password                 = module.secret["database"].value
  password_generation      = var.password_generation
  instance_class           = "db.m7g.large"
  storage_gb               = 50
  multi_az                 = true
  backup_days              = 14
  kms_key_arn              = module.encryption.key_arn
}

module "cache" {
  source                   = "../../modules/cache"
  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.data_subnet_ids
  client_security_group_id = module.cluster.security_group_id
  password                 = module.secret["cache"].value
  password_generation      = var.password_generation
  replicas                 = 1
  kms_key_arn              = module.encryption.key_arn
}

module "prefect" {
  source              = "../../modules/prefect"
  service_accounts    = module.identity.service_accounts
  server_env          = file("${path.module}/../../../deployments/server.env")
  chart_values        = { for part in ["server", "worker"] : part => file("${path.module}/../../../workers/helm/prefect-${part}.yaml") }
  server_replicas     = 2
  prefect_image       = var.prefect_image
  database            = { host = module.database.host, port = module.database.port, name = module.database.database, username = module.database.username }
  cache               = { host = module.cache.host, port = module.cache.port }
  database_password   = module.secret["database"].value
  cache_password      = module.secret["cache"].value
  prefect_password    = module.secret["prefect"].value
  encryption_password = module.secret["encryption"].value
  password_generation = var.password_generation
  depends_on          = [module.cpu_nodes]
}

module "observability" {
  source                 = "../../modules/observability"
  name                   = var.name
  mail_addresses         = var.mail_addresses
  database_identifier    = module.database.identifier
  cache_node_ids         = module.cache.node_ids
  gpu_autoscaling_groups = module.gpu_nodes.autoscaling_group_names
  monthly_budget         = var.monthly_budget
  container_logs         = true
  cluster_name           = module.cluster.name
  cluster_arn            = module.cluster.arn
  kms_key_arn            = module.encryption.key_arn
  depends_on             = [module.cpu_nodes]
}

module "deployments" {
  source           = "../../modules/deployments"
  prefect_yaml     = file("${path.module}/../../../deployments/prefect.yaml")
  images           = { for pool, kind in { cpu = "cpu", gpu = "cuda12" } : pool => "${module.registry.repository_url}:${var.stenopool_version}-${kind}" }
  namespace        = module.prefect.namespace
  service_accounts = module.identity.service_accounts
  source_uri       = module.storage.source_uri
  destination_uri  = module.storage.destination_uri
  models_uri       = module.storage.models_uri
  region           = var.region
  schedules        = var.schedules

  arrivals_queue_url = module.storage.arrivals_queue_url
}
