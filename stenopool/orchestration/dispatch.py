"""Runs a shard in the parent's process, or as deployment runs that workers pick up.

A deployment run receives the location of its shard's manifest, not the recordings. Its idempotency key is that
location, so a repeated parent (its pod was evicted) finds the runs that it started before. Cancelling the parent
cancels them too, because Prefect's server cancels linked runs.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext, TagsContext
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic import TypeAdapter

from stenopool.errors import AccessDenied, ErrorCode, OptionsInvalid, SetupError
from stenopool.models.suitability import check_options
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration import entrypoints
from stenopool.orchestration.names import PARENTS
from stenopool.pipeline.outcomes import ShardLog
from stenopool.pipeline.shards import Shard, log_or_receipts, read_prepared
from stenopool.runtime.logs import logger
from stenopool.runtime.signals import stop_if_asked
from stenopool.settings import DispatchSettings, get_settings
from stenopool.speech.loaded import check_models
from stenopool.storage.base import ObjectStore


class Inline:
    """Runs a shard as a subflow in this process: one scratch folder, one loaded model, no worker."""

    # Prefect's signal handling supports one flow at a time.
    at_once = 1

    async def check(self, options: TranscriptionOptions, execution: ExecutionOptions) -> None:
        """Check for missing models and packages before any audio is read."""
        await asyncio.to_thread(check_models, options, execution)

    async def carry(self, shard: Shard, _: ObjectStore, parameters: dict[str, Any]) -> list[ShardLog]:
        """Process a shard whose manifest is at the destination; returns the logs of its runs, whatever the result.

        ``parameters``: the runs' other parameters.
        """
        flow: Any = entrypoints.load("shard")
        return [await flow(batch=shard.batch, shard=shard.number, **parameters)]


class ByDeployment:
    """Runs the two halves of a shard as deployment runs, on machines of their pools' workers."""

    def __init__(self, settings: DispatchSettings) -> None:
        self._settings = settings
        self.at_once = settings.shards_in_flight

    async def check(self, options: TranscriptionOptions, _: ExecutionOptions) -> None:
        """Check only what needs no weights, as this machine has neither weights nor a GPU. `transcribe` checks the
        rest.
        """
        await asyncio.to_thread(check_options, options)

    async def carry(self, shard: Shard, destination: ObjectStore, parameters: dict[str, Any]) -> list[ShardLog]:
        await self._run(self._settings.prepare, batch=shard.batch, shard=shard.number, **parameters)
        prepared, ready = await asyncio.to_thread(read_prepared, destination, shard)
        if not ready:  # invalid files never use a GPU
            return [prepared]
        await self._run(self._settings.transcribe, batch=shard.batch, shard=shard.number, **parameters)
        return [prepared, await asyncio.to_thread(log_or_receipts, destination, shard, "transcribe", ready)]

    async def _run(self, deployment: str, *, batch: str, shard: int, **parameters: Any) -> None:
        # Only non-default parameters, so that a run's page shows what is relevant.
        chosen = TypeAdapter(dict[str, Any]).dump_python(parameters, mode="json", exclude_defaults=True)
        async with get_client() as client:
            child = None
            while child is None:
                try:
                    child = await arun_deployment(
                        deployment,
                        client=client,
                        parameters={"batch": batch, "shard": shard, **chosen},
                        idempotency_key=f"{batch}/{shard:05d}/{deployment}",  # a repeated request returns the same run
                        work_queue_name=_queue(),
                        tags=[f"batch:{batch}", *sorted(TagsContext.get().current_tags)],
                        timeout=0,
                    )
                except ObjectNotFound as error:
                    raise SetupError(
                        ErrorCode.DEPLOYMENT_MISSING, f"The Prefect server has no deployment {deployment}."
                    ) from error
                except (httpx.TransportError, PrefectHTTPStatusError) as error:
                    _raise_unless_passing(error)
                    stop_if_asked()
                    await asyncio.sleep(self._settings.poll)
            await self._end_of(child, client)

    async def _end_of(self, child: FlowRun, client: PrefectClient) -> None:
        """Wait for a run, even while the server is unavailable. Its result is in its log at the destination."""
        while not (child.state and child.state.is_final()):
            stop_if_asked()
            await asyncio.sleep(self._settings.poll)
            try:
                child = await client.read_flow_run(child.id)
            except ObjectNotFound:  # the run was deleted: its shard counts as lost, the others continue
                logger.warning("The run %s no longer exists on the Prefect server.", child.name)
                return
            except (httpx.TransportError, PrefectHTTPStatusError) as error:
                _raise_unless_passing(error)
        if not child.state.is_completed():
            logger.warning("%s ended as %s: %s", child.name, child.state.name, child.state.message)


Dispatcher = Inline | ByDeployment


def _raise_unless_passing(error: httpx.TransportError | PrefectHTTPStatusError) -> None:
    """Raise `SetupError` for an error that waiting does not resolve: the server refuses the request.

    If the server is unavailable, restarts its database (500) or is overloaded (408, 429), this is only logged.
    """
    if isinstance(error, PrefectHTTPStatusError):
        status = error.response.status_code
        if status in (401, 403):
            raise AccessDenied(
                f"The Prefect server refuses this run's credentials (HTTP {status}).",
                remedy="Set PREFECT_API_AUTH_STRING or PREFECT_API_KEY to the server's current value; run it again.",
            ) from error
        if status < 500 and status not in (408, 429):
            raise OptionsInvalid(
                f"The Prefect server refuses a request (HTTP {status}): {error.response.text[:500]}",
                remedy="Run this version's `stenopool deploy` for this server, then run it again.",
            ) from error
    logger.warning("The Prefect server does not respond (%s); waiting.", type(error).__name__)


def choose_dispatcher() -> Dispatcher:
    """The dispatcher selected in the settings."""
    settings = get_settings().dispatch
    return Inline() if settings.by == "inline" else ByDeployment(settings)


async def carry_shards(
    shards: Iterable[Shard], dispatcher: Dispatcher, destination: ObjectStore, parameters: dict[str, Any]
) -> AsyncIterator[list[ShardLog]]:
    """Process each shard as soon as it is full, and yield its logs; listing waits for the shards in progress."""

    async def carry(shard: Shard) -> list[ShardLog]:
        await asyncio.to_thread(shard.write, destination)
        return await dispatcher.carry(shard, destination, parameters)

    coming, in_flight = iter(shards), set[asyncio.Task[list[ShardLog]]]()
    try:
        while True:
            stop_if_asked()
            if len(in_flight) < dispatcher.at_once and (shard := await asyncio.to_thread(next, coming, None)):
                in_flight.add(asyncio.create_task(carry(shard)))
            elif in_flight:
                ended, in_flight = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    yield task.result()
            else:
                return
    finally:
        for task in in_flight:
            task.cancel()


def _queue() -> str | None:
    """The child runs' queue, which matches the parent's: interactive work has priority in every pool."""
    context = FlowRunContext.get()
    parents = context.flow_run.work_queue_name if context and context.flow_run else None
    return parents.removeprefix(PARENTS) if parents and parents.startswith(PARENTS) else None
