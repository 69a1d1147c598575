"""Files outside the package's modules that the program reads: flows, job templates, `deployments/`.

In a checkout they are in the root folders; in a wheel they are inside the package.
"""

from pathlib import Path

_PACKAGE = Path(__file__).parent
_INSTALLED = _PACKAGE / "_shipped"


def folder() -> Path:
    """The folder that holds ``flows/``, ``workers/templates/`` and ``deployments/``."""
    return _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent


def read_variables(name: str) -> dict[str, str]:
    """The environment variables that a shipped file sets, e.g. ``deployments/server.env``."""
    lines = (folder() / name).read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
