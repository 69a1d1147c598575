"""The exporter: what batches wrote to their destinations and what Prefect knows, as one page for Prometheus."""
