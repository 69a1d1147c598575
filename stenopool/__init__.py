"""Stenopool: in-house speech-to-text for whole buckets.

Only `orchestration` and the layers above it (`cli`, `api`, `exporter`) use Prefect; all other modules can be used from
a notebook without it. Importing the package does not import model libraries: the adapters load them in ``load()``.
"""

import sys

__version__ = "0.1.0"

# `python -m stenopool...` without -P searches the current folder first, and would run a uvicorn.py among the
# recordings. sys.argv[0] is "-m" only while Python locates the module to run, which imports this package.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    del sys.path[0]
