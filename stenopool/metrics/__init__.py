"""Figures for Prometheus: which there are, what a batch adds to them, and how a store's batches are summed up."""
