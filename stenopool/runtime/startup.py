"""Set-up of a process: its log, its traces, its memory allocator.

Nothing of this happens when a module is imported. Whoever owns a process calls `start_process` when it begins: the
command line, a worker's run, an application that uvicorn loads.
"""

from stenopool.runtime import allocator, logs, traces


def start_process() -> None:
    """Set up the log, the traces and the allocator as the settings ask for. May be called again at any time."""
    logs.configure()
    traces.configure()
    allocator.limit_arenas()
