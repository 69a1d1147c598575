variable "name" {
  description = "Name of the installation; also what Karpenter finds subnets by."
  type        = string
}

variable "cidr" {
  description = "Addresses of the network, /16 to /20. Every pod takes one."
  type        = string
  default     = "10.0.0.0/16"

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 20, false)
    error_message = "The network must be an IPv4 range from /16 to /20, such as 10.0.0.0/16."
  }
}

variable "zones" {
  description = "Availability zones. More zones find spot GPUs more often; EKS needs two."
  type        = number
  default     = 3

  validation {
    condition     = contains([2, 3, 4], var.zones)
    error_message = "Between 2 and 4 zones."
  }
}

variable "nat" {
  description = "NAT gateways: one, per_zone (survives the loss of a zone), or none (air-gapped, with interface_endpoints)."
  type        = string
  default     = "one"

  validation {
    condition     = contains(["none", "one", "per_zone"], var.nat)
    error_message = "NAT is none, one or per_zone."
  }

  validation {
    condition     = var.nat != "none" || length(setsubtract(["ec2", "ecr.api", "ecr.dkr", "eks", "eks-auth", "sts"], var.interface_endpoints)) == 0
    error_message = "Without NAT, nodes join only through interface endpoints: at least ec2, ecr.api, ecr.dkr, eks, eks-auth and sts."
  }
}

variable "interface_endpoints" {
  description = "AWS services reached without NAT, e.g. [\"ec2\", \"ecr.api\", \"ecr.dkr\", \"eks\", \"eks-auth\", \"sts\", \"logs\"]."
  type        = set(string)
  default     = []
}

variable "log_retention_days" {
  description = "Days for which refused traffic is kept in CloudWatch."
  type        = number
  default     = 365
}

variable "kms_key_arn" {
  description = "Key for the logs."
  type        = string
}
