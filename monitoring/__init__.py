"""What operators look at: the exporter, rules, dashboards."""
