"""What operators look at: the exporter, rules, dashboards. ``python -m monitoring.render`` writes what is generated."""
