# No internet access: interface endpoints instead of NAT gateways, and node groups, whose images come from your mirror. The
# stack cluster needs `mirror`: docs/operations/air-gapped.md lists what it must contain.
region         = "eu-central-1"
air_gapped     = true
auto_mode      = false
arrivals_queue = true
gpu_nodes      = 4
