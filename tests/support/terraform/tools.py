"""Programs from the package registry with separate environments, because their pins differ from ours."""

import os


def uvx(*command: str) -> list[str]:
    """The command line for it. `uv run` passes uv's path, which need not be in PATH."""
    return [os.environ.get("UV", "uv"), "tool", "run", "--quiet", *command]
