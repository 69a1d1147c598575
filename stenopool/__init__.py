"""Stenopool: in-house speech-to-text for whole buckets.

Each module here is usable from a notebook and knows nothing of Prefect. Importing the package imports no model
library: those are loaded inside the adapters' ``load()``.
"""

__version__ = "0.1.0"
