variable "name" {
  description = "Name of the installation."
  type        = string
}

variable "cidr" {
  description = "Address range of the network, /16 to /20. Each pod uses one address."
  type        = string
  default     = "10.0.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "The network must be an IPv4 range from /16 to /20, such as 10.0.0.0/16."
  }
}

variable "zones" {
  description = "Number of availability zones. More zones find spot GPUs more often; EKS needs two."
  type        = number
  default     = 3

  validation {
    condition     = contains([2, 3, 4], var.zones)
    error_message = "Use 2 to 4 zones."
  }
}

variable "nat" {
  description = "NAT gateways: one, per_zone (survives the loss of a zone), or none (air-gapped, with interface_endpoints)."
  type        = string
  default     = "one"

  validation {
    condition     = contains(["none", "one", "per_zone"], var.nat)
    error_message = "Use none, one or per_zone."
  }

  validation {
    condition     = var.nat != "none" || length(setsubtract(["ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "sts"], var.interface_endpoints)) == 0
    error_message = "Without NAT, nodes need the interface endpoints ec2, ecr.api, ecr.dkr, eks, eks-auth and sts to join."
  }
}

variable "interface_endpoints" {
  description = "AWS services to reach without NAT, for example [\"ec2\", \"ecr.api\", \"ecr.dkr\", \"eks\", \"eks-auth\", \"sts\", \"logs\"]."
  type        = set(string)
  default     = []
}

variable "bucket_accounts" {
  description = "Other AWS accounts whose buckets may be used without NAT, such as that of your own recordings."
  type        = list(string)
  default     = []
}

variable "log_retention_days" {
  description = "Days for which logs of refused traffic are kept in CloudWatch."
  type        = number
  default     = 365
}

variable "kms_key_arn" {
  description = "Key for the logs."
  type        = string
}
