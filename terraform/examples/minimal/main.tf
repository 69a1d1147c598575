# The smallest installation with every function: one NAT gateway, single database and cache, GPUs that scale from zero.

module "encryption" {
  source               = "../../modules/encryption"
  name                 = var.name
  deletion_window_days = 7
}

module "network" {
  source      = "../../modules/network"
  name        = var.name
  zones       = 2
  kms_key_arn = module.encryption.key_arn
}

module "cluster" {
  source              = "../../modules/cluster"
  name                = var.name
  subnet_ids          = module.network.private_subnet_ids
  public_access_cidrs = var.public_access_cidrs
  kms_key_arn         = module.encryption.key_arn
  deletion_protection = var.protect
}

module "cpu_nodes" {
  source        = "../../modules/cpu_nodes"
  cluster_name  = module.cluster.name
  cluster_arn   = module.cluster.arn
  node_role_arn = module.cluster.node_role_arn
  subnet_ids    = module.network.private_subnet_ids
  min_size      = 1
  max_size      = 3
}

module "autoscaler" {
  source       = "../../modules/autoscaler"
  cluster_name = module.cluster.name
  cluster_arn  = module.cluster.arn
  depends_on   = [module.cpu_nodes]
}

module "gpu_nodes" {
  source        = "../../modules/gpu_nodes"
  cluster_name  = module.cluster.name
  node_role_arn = module.cluster.node_role_arn
  subnet_ids    = module.network.private_subnet_ids
  max_size      = 1
  depends_on    = [module.cpu_nodes]
}

module "storage" {
  source                     = "../../modules/storage"
  name                       = var.name
  existing_recordings_bucket = var.recordings_bucket
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
  source       = "../../modules/identity"
  cluster_name = module.cluster.name
  cluster_arn  = module.cluster.arn
  bucket_arns  = module.storage.bucket_arns
  kms_key_arns = concat([module.encryption.key_arn], var.recordings_kms_key_arns)
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
  for_each             = local.passwords
  source               = "../../modules/secret"
  name                 = "${var.name}/${each.key}"
  description          = each.value
  generation           = each.key == "encryption" ? 1 : var.password_generation
  recovery_window_days = var.protect ? 30 : 0
  kms_key_arn          = module.encryption.key_arn
}

module "database" {
  source                   = "../../modules/database"
  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.data_subnet_ids
  client_security_group_id = module.cluster.security_group_id
  password                 = module.secret["database"].value
  password_generation      = var.password_generation
  instance_class           = "db.t4g.small"
  deletion_protection      = var.protect
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
  node_type                = "cache.t4g.micro"
  kms_key_arn              = module.encryption.key_arn
}

module "prefect" {
  source              = "../../modules/prefect"
  service_accounts    = module.identity.service_accounts
  server_env          = file("${path.module}/../../../deployments/server.env")
  chart_values        = { for part in ["server", "worker"] : part => file("${path.module}/../../../workers/helm/prefect-${part}.yaml") }
  database            = { host = module.database.host, port = module.database.port, name = module.database.database, username = module.database.username }
  cache               = { host = module.cache.host, port = module.cache.port }
  database_password   = module.secret["database"].value
  cache_password      = module.secret["cache"].value
  prefect_password    = module.secret["prefect"].value
  encryption_password = module.secret["encryption"].value
  password_generation = var.password_generation
  depends_on          = [module.cpu_nodes]
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
}
