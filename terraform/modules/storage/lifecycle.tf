resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = aws_s3_bucket.this
  bucket   = each.value.id

  rule {
    id     = "leftovers"
    status = "Enabled"
    filter {}

    # Parts of interrupted uploads cost money and appear in no listing.
    abort_incomplete_multipart_upload { days_after_initiation = 7 }

    noncurrent_version_expiration { noncurrent_days = var.old_versions_days }

    expiration { expired_object_delete_marker = true }
  }

  # Checkpoints are deleted once the receipt is written. Older ones belong to abandoned work.
  dynamic "rule" {
    for_each = each.key == "transcripts" ? [1] : []

    content {
      id     = "checkpoints"
      status = "Enabled"

      filter { prefix = local.work_prefix }

      expiration { days = var.checkpoint_days }

      noncurrent_version_expiration { noncurrent_days = 1 }
    }
  }

  dynamic "rule" {
    for_each = each.key == "recordings" && var.recordings_cold_after_days != null ? [1] : []

    content {
      id     = "cold"
      status = "Enabled"
      filter {}

      # Can be read at once, unlike the archives: after a change of model, any recording may be read again.
      transition {
        days          = var.recordings_cold_after_days
        storage_class = "GLACIER_IR"
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}
