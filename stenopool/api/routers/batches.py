"""Batches: everything below a prefix in one run."""

import asyncio
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response
from prefect.client.schemas.objects import FlowRun
from pydantic import ConfigDict, Field

from stenopool.api.access import CAN_READ, CanBatch, GuardedRoute, require_scope
from stenopool.api.batch_states import BatchState, plan_batch, read_batch
from stenopool.api.client_data import ClientData, write_client_data
from stenopool.api.idempotency import IdempotencyKey, claimed, token_of
from stenopool.api.keys import Key
from stenopool.api.lifecycle import CallbackAddress, choices
from stenopool.api.schema import RequestedOptions
from stenopool.api.service import CurrentService, Service
from stenopool.api.states import Submitted, for_caller

router = APIRouter(prefix="/v1/batches", tags=["batches"], route_class=GuardedRoute)


class NewBatch(ClientData):
    """A batch of everything below a prefix of the source."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    prefix: Annotated[str, Field(max_length=4096)]
    """Prefix of the keys: a folder's ends with "/", and "" is the whole source. A folder's address is accepted too."""
    options: RequestedOptions = Field(default_factory=dict)
    """Options that differ from the defaults."""
    callback: CallbackAddress = None
    """URL that receives an event when the batch has ended."""
    dry_run: bool = False
    """Only count what the batch would do."""


@router.post(
    "",
    status_code=202,
    response_model=BatchState | Submitted,
    responses={200: {"model": BatchState, "description": "The result of a dry run."}, 404: {}, 409: {}},
)
async def create_batch(
    asked: NewBatch,
    response: Response,
    service: CurrentService,
    caller: CanBatch,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Transcribe everything below a prefix that has no transcript with these options, in one run behind all uploads.

    A dry run only counts, and needs the scope read. Without that scope, the response has only the id and the state.
    """
    check = service.prefix_of if "://" in asked.prefix else service.check_prefix
    asked = asked.model_copy(update={"prefix": check(asked.prefix)})
    if asked.dry_run:
        require_scope(caller, "read")
        response.status_code = 200
        return await plan_batch(service, asked.prefix, service.options(asked.options), asked)
    run = await start_batch(service, asked, caller, idempotency_key)
    response.headers["Location"] = f"/v1/batches/{run.id}"
    return for_caller(caller, await read_batch(service, run.id))


@router.get("/{id}", dependencies=[CAN_READ])
async def get_batch(id: UUID, service: CurrentService) -> BatchState:
    """Return a batch, queued, running or ended, with the counts of its recordings. DELETE /v1/queue/{id} cancels it."""
    return await read_batch(service, id)


async def start_batch(service: Service, asked: NewBatch, caller: Key, idempotency_key: str | None) -> FlowRun:
    """Submit a batch. Raises the problem 404 if nothing is below its prefix."""
    options = service.options(asked.options)
    await service.require_recordings(asked.prefix)
    await service.check_callback(asked.callback)
    token = token_of(caller, idempotency_key)
    async with claimed(service.destination, token, {"prefix": asked.prefix, **choices(options, asked)}) as first:
        run = await service.submit_all(asked.prefix, options, first.nonce if token else None)
        await service.add_callback(asked.callback, run=run.id)
        await asyncio.to_thread(write_client_data, service.destination, run.id, asked)
    return run
