data "aws_caller_identity" "current" {}
data "aws_region" "current" {}

locals {
  places = {
    source      = { bucket = var.bucket_arns.recordings, prefix = var.source_prefix }
    destination = { bucket = var.bucket_arns.transcripts, prefix = var.destination_prefix }
    models      = { bucket = var.bucket_arns.models, prefix = "models" }
  }

  # Keys below a prefix; the slash keeps "calls" from opening "calls-of-another-team".
  below = { for name, place in local.places : name => "${place.bucket}/${place.prefix == "" ? "" : "${place.prefix}/"}*" }

  # Listing is a permission on the bucket, limited by the requested prefix. S3 also requires it before it returns
  # "no such key" rather than "denied", with the key as the prefix. Code that looks for checkpoints needs that.
  list = {
    for name, place in local.places : name => merge(
      {
        Sid      = "List${title(name)}"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [place.bucket]
      },
      { for key in place.prefix == "" ? [] : ["Condition"] : key => { StringLike = { "s3:prefix" = ["${place.prefix}/*"] } } },
    )
  }

  read   = ["s3:GetObject"]
  write  = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
  delete = ["s3:DeleteObject"]

  # Permissions by role. `prepare` reads recordings. `transcribe` reads only the output of `prepare` at the destination,
  # and only checks whether a recording exists in the source.
  rights = {
    cpu = { source = local.read, destination = concat(local.read, local.write, local.delete), models = local.read }
    gpu = { source = [], destination = concat(local.read, local.write, local.delete), models = local.read }
    api = { source = concat(local.read, local.write, local.delete), destination = concat(local.read, local.delete), models = [] }
    # It reads receipts and figures of batches, and merges the figures of old ones.
    exporter = { source = [], destination = local.read, models = [] }
  }

  # Folders at the destination that only this role writes: requests and callbacks; figures.
  folders = {
    api      = { names = [".api", ".callbacks"], actions = ["s3:PutObject"] }
    exporter = { names = [".metrics"], actions = ["s3:PutObject", "s3:DeleteObject"] }
  }

  namespaces = { cpu = var.runs_namespace, gpu = var.runs_namespace, api = var.namespace, exporter = var.namespace }

  # Services through which a key may be used: arrivals are also encrypted with it.
  services = { cpu = var.arrivals_queue_arn == null ? ["s3"] : ["s3", "sqs"], gpu = ["s3"], api = ["s3"], exporter = ["s3"] }

  policies = {
    for role, places in local.rights : role => {
      Version = "2012-10-17"
      Statement = concat(
        [for name in ["source", "destination", "models"] : local.list[name] if length(places[name]) > 0 || (name == "source" && role == "gpu")],
        [
          for name in ["source", "destination", "models"] : {
            Sid      = "Use${title(name)}"
            Effect   = "Allow"
            Action   = places[name]
            Resource = [local.below[name]]
          } if length(places[name]) > 0
        ],
        # To clean up parts of interrupted uploads. S3 cannot limit this to a prefix; it shows keys, not contents.
        [
          for name in role == "cpu" ? ["destination"] : [] : {
            Sid      = "FindUnfinishedUploads"
            Effect   = "Allow"
            Action   = ["s3:ListBucketMultipartUploads"]
            Resource = [local.places[name].bucket]
          }
        ],
        [
          for name, folder in local.folders : {
            Sid      = "KeepRecords"
            Effect   = "Allow"
            Action   = folder.actions
            Resource = [for path in folder.names : "${trimsuffix(local.below.destination, "*")}${path}/*"]
          } if name == role
        ],
        [{
          Sid       = "Decrypt"
          Effect    = "Allow"
          Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
          Resource  = var.kms_key_arns
          Condition = { StringEquals = { "kms:ViaService" = [for service in local.services[role] : "${service}.${data.aws_region.current.region}.amazonaws.com"] } }
        }],
        [
          # `watch` runs in the same pool as `ingest`.
          for queue in role == "cpu" && var.arrivals_queue_arn != null ? [var.arrivals_queue_arn] : [] : {
            Sid      = "ReadArrivals"
            Effect   = "Allow"
            Action   = ["sqs:ReceiveMessage", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes"]
            Resource = [queue]
          }
        ],
      )
    }
  }
}

resource "aws_iam_role" "this" {
  for_each    = local.policies
  name_prefix = "${var.cluster_name}-${each.key}-"
  description = "Pods of the service account ${local.namespaces[each.key]}/${var.service_accounts[each.key]}"

  # EKS tags each session with its origin: pods of other clusters or namespaces are refused here too, not only by the
  # association.
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        ArnEquals = { "aws:SourceArn" = var.cluster_arn }
        StringEquals = {
          "aws:SourceAccount"                         = data.aws_caller_identity.current.account_id
          "aws:RequestTag/kubernetes-namespace"       = local.namespaces[each.key]
          "aws:RequestTag/kubernetes-service-account" = var.service_accounts[each.key]
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  for_each = local.policies
  name     = "storage"
  role     = aws_iam_role.this[each.key].id
  policy   = jsonencode(each.value)
}

resource "aws_eks_pod_identity_association" "this" {
  for_each        = local.policies
  cluster_name    = var.cluster_name
  namespace       = local.namespaces[each.key]
  service_account = var.service_accounts[each.key]
  role_arn        = aws_iam_role.this[each.key].arn
}
