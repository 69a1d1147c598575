# What runs inside EKS. Terraform must reach the Kubernetes API: from an address of public_access_cidrs, or from the network.

module "scaling" {
  source             = "../../modules/scaling"
  cluster_name       = var.name
  region             = var.region
  kubernetes_version = var.kubernetes_version
  auto_mode          = var.auto_mode
  node_role_name     = var.node_role_name
  subnet_ids         = var.subnet_ids
  security_group_id  = var.security_group_id
  gpu                = var.gpu
  ingress            = var.ingress
  mirror             = var.mirror
}

module "password" {
  for_each = var.secret_arns
  source   = "../../modules/password"
  arn      = each.value
}

module "prefect" {
  source              = "../../modules/prefect"
  database            = var.database
  cache               = var.cache
  database_password   = module.password["database"].value
  cache_password      = module.password["cache"].value
  prefect_password    = module.password["prefect"].value
  encryption_password = module.password["encryption"].value
  password_generation = var.password_generation
}
