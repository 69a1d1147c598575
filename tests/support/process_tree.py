"""Processes and their descendants, as the kernel lists them."""

from pathlib import Path


def descendants(pid: int) -> list[int]:
    """All descendants of a process."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += [child, *descendants(child)]
    return found
