"""Programs from the package registry that get an environment of their own, because their pins are not ours."""

import os


def uvx(*command: str) -> list[str]:
    """The command line for it. `uv run` says where uv is; it need not be on the path."""
    return [os.environ.get("UV", "uv"), "tool", "run", "--quiet", *command]
