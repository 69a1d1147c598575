variable "name" {
  description = "Name of the installation: 2 to 20 lower-case letters, digits and hyphens."
  type        = string
  default     = "stenopool"
}

variable "region" {
  description = "AWS region. First check that it has the GPU instances, and that your account may start them."
  type        = string
}

variable "public_access_cidrs" {
  description = "Addresses from which you and Terraform reach the Kubernetes API, for example [\"203.0.113.7/32\"]."
  type        = list(string)
}

variable "recordings_bucket" {
  description = "Your bucket with recordings. Null: a bucket is created."
  type        = string
  default     = null
}

variable "recordings_kms_key_arns" {
  description = "KMS keys of your own bucket."
  type        = list(string)
  default     = []
}

variable "password_generation" {
  description = "Raise this number to change all passwords."
  type        = number
  default     = 1
}

variable "protect" {
  description = "Set to false for a trial: `terraform destroy` then deletes everything, including recordings in the created bucket."
  type        = bool
  default     = true
}

variable "stenopool_version" {
  description = "Version of Stenopool's images."
  type        = string
  default     = "0.1.0"
}

variable "tags" {
  description = "Tags for everything."
  type        = map(string)
  default     = {}
}
