"""Wait for a condition instead of for a time."""

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T],
    what: str = "condition",
    *,
    seconds: float = 30,
    every: float = 0.05,
    process: subprocess.Popen[str] | subprocess.Popen[bytes] | None = None,
) -> T:
    """Check until the condition is true, and return its result.

    Raises AssertionError with ``what`` after the time limit, and with its output if ``process`` has ended before.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain: {what}"
        if process is not None and process.poll() is not None:
            assert condition(), f"the process ended before: {what}\n{process.communicate()}"
        time.sleep(every)
    return found
