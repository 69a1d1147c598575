# Read from Secrets Manager rather than passed on: the value is in no plan and no state, and after an interrupted apply,
# the next one does not generate another password.
ephemeral "aws_secretsmanager_secret_version" "this" { secret_id = var.arn }
