"""Stenopool: in-house speech-to-text for whole buckets.

Each module here is usable from a notebook and knows nothing of Prefect. Importing the package imports no model
library: those are loaded inside the adapters' ``load()``.
"""

import sys

__version__ = "0.1.0"

# `python -m stenopool...` without -P looks into the current folder first, and would run a uvicorn.py among the
# recordings. Only while Python looks for the module, whose package this is, does "-m" stand there.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    del sys.path[0]
