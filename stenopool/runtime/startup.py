"""Set-up of a process: its log, its traces, its memory allocator.

Nothing of this happens when a module of the package is imported. What a process begins with calls `start_process`: the
command line, and the file of a flow that a worker runs.
"""

from stenopool.runtime import allocator, logs, traces


def start_process() -> None:
    """Set up the log, the traces and the allocator as the settings ask for. May be called again at any time."""
    logs.configure()
    traces.configure()
    allocator.limit_arenas()
