"""A flow for pods: it reports where it runs, and runs until it is released."""

import os
import time
from pathlib import Path

from prefect import flow, runtime


@flow(name="hold", persist_result=False)
def hold(folder: str) -> None:
    """Make ``<run>.<pod>`` in the folder, wait for ``<run>.go``.

    Args:
        folder: Where the test looks and answers.
    """
    run = runtime.flow_run.id
    (Path(folder) / f"{run}.{os.environ['HOSTNAME']}").touch()
    while not (Path(folder) / f"{run}.go").exists():
        time.sleep(0.1)
