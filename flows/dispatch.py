"""Where a shard's runs happen: here, in the parent's process, or (with deployments) wherever a worker picks them up."""

from typing import Any, Protocol

from flows.prepare import prepare
from flows.transcribe import transcribe


class Dispatch(Protocol):
    """Runs the two flows of a shard, in this order, and returns when both are over."""

    async def __call__(self, **parameters: Any) -> None: ...


async def inline(**parameters: Any) -> None:
    """Both as subflows in this process: one scratch folder, one loaded model, no worker."""
    await prepare(**parameters)
    await transcribe(**parameters)
