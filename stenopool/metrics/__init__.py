"""Metrics for Prometheus: their definitions, and amounts that can be added up."""
