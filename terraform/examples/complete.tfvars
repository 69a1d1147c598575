# For production: three zones, standbys, alarms, a budget, pod logs, prefixes, a queue for arrivals, TLS.
region  = "eu-central-1"
zones   = 3
nat     = "per_zone"
standby = true
# Empty: the Kubernetes API is private, and the stack cluster is applied from inside the network.
public_access_cidrs     = []
administrator_role_arns = ["arn:aws:iam::111122223333:role/ops"]
gpu_nodes               = 4

# Your own bucket: turn on EventBridge in its properties, otherwise no arrival is noticed before the nightly run.
recordings_bucket  = "calls-of-acme"
source_prefix      = "2026"
destination_prefix = "calls"
arrivals_queue     = true
schedules          = { nightly = { cron = "0 2 * * *" } }

ingress = {
  host            = "stenopool.acme.example"
  certificate_arn = "arn:aws:acm:eu-central-1:111122223333:certificate/11111111-2222-3333-4444-555555555555"
}

database        = { instance_class = "db.m7g.large", storage_gb = 50 }
backup_days     = 14
cache_node_type = "cache.t4g.small"

alarms         = true
container_logs = true
mail_addresses = ["ops@acme.example"]
monthly_budget = 2000
