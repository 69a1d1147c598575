"""The exporter: metrics for Prometheus from batches' objects at their destinations and from the Prefect server."""
