"""Loads the flows of ``flows/`` by path, in this process and in workers that execute deployment runs."""

import os
import runpy
from functools import cache
from typing import Any

from prefect import Flow

from stenopool import shipped
from stenopool.runtime.processes import safe_environment
from stenopool.runtime.startup import start_process


@cache
def load(name: str) -> Flow[Any, Any]:
    """The flow with this name; one object per process."""
    # Prefect's own loader would add the current folder to sys.path, with any modules that it contains.
    module = runpy.run_path(str(shipped.folder() / f"flows/{name}.py"), run_name=f"stenopool_flow_{name}")
    flow: Flow[Any, Any] = module[name]
    return flow


def enter() -> dict[str, str]:
    """A deployment's pull step: change to the folder where the flows are installed, so that the entrypoint is found.

    A pod then runs the flow in this process; a process worker runs it in the process that replaces this one.
    """
    start_process()
    os.environ.update(safe_environment())
    directory = str(shipped.folder())
    os.chdir(directory)
    return {"directory": directory}
