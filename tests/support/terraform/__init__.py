"""Terraform without the registry: provider schemas from PyPI wheels, served over Terraform's plugin protocol."""
