resource "aws_ecr_repository" "this" {
  name                 = var.name
  image_tag_mutability = "IMMUTABLE" # a version that changes under its name cannot be rolled back to
  force_delete         = var.force_delete

  image_scanning_configuration { scan_on_push = true }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = var.kms_key_arn
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "Layers of images that lost their tag"
        selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 7 }
        action       = { type = "expire" }
      },
      # One rule per kind, so that GPU images do not displace CPU images.
      {
        rulePriority = 2
        description  = "Old CPU images"
        selection    = { tagStatus = "tagged", tagPatternList = ["*-cpu"], countType = "imageCountMoreThan", countNumber = var.keep_versions }
        action       = { type = "expire" }
      },
      {
        rulePriority = 3
        description  = "Old GPU images"
        selection    = { tagStatus = "tagged", tagPatternList = ["*-cuda12"], countType = "imageCountMoreThan", countNumber = var.keep_versions }
        action       = { type = "expire" }
      },
    ]
  })
}
