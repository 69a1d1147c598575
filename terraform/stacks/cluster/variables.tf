# From the stack cloud: `terraform output -json cluster > ../cluster/cloud.auto.tfvars.json`.

variable "name" {
  description = "Name of the installation and of the cluster."
  type        = string
}

variable "region" {
  description = "AWS region."
  type        = string
}

variable "endpoint" {
  description = "URL of the Kubernetes API."
  type        = string
}

variable "certificate_authority" {
  description = "Certificate authority of the Kubernetes API, in PEM."
  type        = string
}

variable "kubernetes_version" {
  description = "Version of the control plane."
  type        = string
}

variable "auto_mode" {
  description = "Whether the cluster uses EKS Auto Mode."
  type        = bool
}

variable "node_role_name" {
  description = "Role of the nodes."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of the nodes."
  type        = list(string)
}

variable "security_group_id" {
  description = "Security group of the nodes."
  type        = string
}

variable "gpu" {
  description = "Types and maximum number of GPU nodes."
  type        = object({ instance_types = list(string), max_size = number })
}

variable "ingress" {
  description = "Host name, certificate and scheme of the load balancer; null without one."
  type        = object({ host = string, certificate_arn = string, scheme = string })
}

variable "database" {
  description = "Address of PostgreSQL."
  type        = object({ host = string, port = number, name = string, username = string })
}

variable "cache" {
  description = "Address of Valkey."
  type        = object({ host = string, port = number })
}

variable "secret_arns" {
  description = "ARNs of the passwords."
  type        = map(string)
}

variable "password_generation" {
  description = "Number of the passwords' generation."
  type        = number
}

# Yours.

variable "mirror" {
  description = "Registry with copies of images and charts, such as 111122223333.dkr.ecr.eu-central-1.amazonaws.com: required if air-gapped. Null: those of the publishers."
  type        = string
  default     = null
}
