"""Files of the root folders (flows, job templates, `prefect.yaml`) that the program reads.

In a checkout they are where people edit them; a wheel carries them inside the package.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "_shipped"


def folder() -> Path:
    """The folder that holds ``flows/``, ``workers/templates/`` and ``deployments/``."""
    return _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent
