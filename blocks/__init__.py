"""Prefect blocks: what is saved on the server under a name. Locations with their credentials, profiles of options."""
