"""Where commands print: their answer on ``out``, everything else on ``err``."""

from rich.console import Console

out = Console()
err = Console(stderr=True)


def print_line(text: str, console: Console = out, style: str | None = None) -> None:
    """Print a line as it is: unfolded, because a log keeps a record on one line, and without markup in other's text."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
