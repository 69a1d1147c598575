"""The flows of ``flows/``, loaded by path: in this process, and by the workers that carry a deployment's runs."""

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
    """The flow of this name; one object per process."""
    # Prefect's own loader would put the current folder on sys.path, and with it whatever a user keeps there.
    module = runpy.run_path(str(shipped.folder() / f"flows/{name}.py"), run_name=f"stenopool_flow_{name}")
    flow: Flow[Any, Any] = module[name]
    return flow


def enter() -> dict[str, str]:
    """A deployment's pull step: go where the flows are installed, so that its entrypoint is found there.

    A pod runs the flow in this process afterwards, a process worker in the one that this becomes.
    """
    start_process()
    os.environ.update(safe_environment())
    directory = str(shipped.folder())
    os.chdir(directory)
    return {"directory": directory}
