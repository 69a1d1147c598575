variable "name" {
  description = "Name of the installation: 2 to 20 lower-case letters, digits and hyphens."
  type        = string
  default     = "stenopool"
}

variable "region" {
  description = "AWS region. Look first whether it has the GPU instances, and whether your account may start any."
  type        = string
}

variable "public_access_cidrs" {
  description = "Addresses from which you and Terraform reach the Kubernetes API, e.g. [\"203.0.113.7/32\"]."
  type        = list(string)
}

variable "recordings_bucket" {
  description = "A bucket of yours with recordings. Null: one is made."
  type        = string
  default     = null
}

variable "recordings_kms_key_arns" {
  description = "Keys that your own bucket is encrypted with."
  type        = list(string)
  default     = []
}

variable "password_generation" {
  description = "Raise it to change all passwords."
  type        = number
  default     = 1
}

variable "protect" {
  description = "False for a trial: `terraform destroy` then leaves nothing behind, recordings in our bucket included."
  type        = bool
  default     = true
}

variable "stenopool_version" {
  description = "Version of the images that runs use."
  type        = string
  default     = "0.1.0"
}

variable "tags" {
  description = "Tags for everything."
  type        = map(string)
  default     = {}
}
