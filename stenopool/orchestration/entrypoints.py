"""The flows of ``flows/``, loaded by path: in this process, and by the workers that carry a deployment's runs."""

import importlib.util
import os
import sys
from functools import cache
from typing import Any

from prefect import Flow

from stenopool import shipped
from stenopool.runtime.processes import safe_environment
from stenopool.runtime.startup import start_process

FLOWS = ("ingest", "prepare", "transcribe", "shard", "watch")


def entrypoint(name: str) -> str:
    """A flow's entrypoint as `prefect.yaml` has it, relative to the folder that `enter` goes to."""
    return f"flows/{name}.py:{name}"


@cache
def load(name: str) -> Flow[Any, Any]:
    """The flow of this name; one object per process."""
    # Prefect's own loader would put the current folder on sys.path, and with it whatever a user keeps there.
    module_name = f"stenopool_flow_{name}"
    spec = importlib.util.spec_from_file_location(module_name, shipped.folder() / f"flows/{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"flows/{name}.py cannot be loaded.")
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    flow: Flow[Any, Any] = getattr(module, name)
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
