data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  ours = toset(var.existing_recordings_bucket == null ? ["recordings", "transcripts", "models"] : ["transcripts", "models"])
  # Bucket names are unique worldwide, so they contain the account.
  names = merge(
    { for purpose in local.ours : purpose => "${var.name}-${purpose}-${data.aws_caller_identity.current.account_id}" },
    var.existing_recordings_bucket == null ? {} : { recordings = var.existing_recordings_bucket },
  )
  arns        = { for purpose, name in local.names : purpose => "arn:${data.aws_partition.current.partition}:s3:::${name}" }
  work_prefix = "${var.destination_prefix == "" ? "" : "${var.destination_prefix}/"}.work/"
}

resource "aws_s3_bucket" "this" {
  for_each      = local.ours
  bucket        = local.names[each.key]
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each                = aws_s3_bucket.this
  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  rule { object_ownership = "BucketOwnerEnforced" }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  rule {
    # A bucket key needs one KMS call for many objects instead of one per small transcript.
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  versioning_configuration { status = "Enabled" }
}

resource "aws_s3_bucket_policy" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "OnlyTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.arns[each.key], "${local.arns[each.key]}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "NoOldTLS"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.arns[each.key], "${local.arns[each.key]}/*"]
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
    ]
  })

  # Setting a policy while public access is being blocked sometimes fails.
  depends_on = [aws_s3_bucket_public_access_block.this]
}
