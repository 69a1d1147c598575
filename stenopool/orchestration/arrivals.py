"""Recordings in a bucket's notifications: finds those that need work, and starts runs of `ingest` for them.

A notification stays in its queue until each of its recordings is done, quarantined or deleted, so that nothing is lost
if a run fails. Because it is delivered again, recordings of runs in progress are not started twice.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from prefect import runtime
from prefect.client.orchestration import PrefectClient
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound

from stenopool.errors import ErrorCode, SetupError
from stenopool.options import STORED, ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.blocks.profiles import apply_profile
from stenopool.orchestration.flow_runs import UNFINISHED, read_all, select_runs
from stenopool.orchestration.names import WATCH_TAG
from stenopool.pipeline.catalog import Selection, list_entries
from stenopool.pipeline.outcomes import FailedRecording
from stenopool.storage.base import ObjectStore

_MOST_BYTES = 256 * 1024  # of keys in a run's parameters, which are limited to 512 KiB


class Unfinished(NamedTuple):
    """Recordings that are neither done nor quarantined."""

    new: list[str]
    """Keys of recordings to transcribe."""
    unreadable: list[FailedRecording]
    """Recordings that currently cannot be read."""
    lost: list[FailedRecording]
    """Recordings that no longer exist or can never be transcribed."""


def find_unfinished(
    source: ObjectStore, destination: ObjectStore, options: TranscriptionOptions, keys: Iterable[str]
) -> Unfinished:
    """Find the unfinished recordings among keys with `list_entries`. Keys that a listing would omit are ignored."""
    found = Unfinished([], [], [])
    if only := tuple(keys):
        for entry in list_entries(source, destination, options, Selection(only=only)):
            key = entry.recording.key
            if entry.failure:
                failed = FailedRecording(key=key, fingerprint=entry.fingerprint, failure=entry.failure)
                (found.unreadable if entry.failure.code.retryable else found.lost).append(failed)
            elif entry.state == "new":
                found.new.append(key)
    return found


async def read_options(client: PrefectClient, deployment: str, profile: str | None) -> TranscriptionOptions:
    """The options of a run of this deployment of `ingest` with this profile."""
    try:
        defaults = (await client.read_deployment_by_name(deployment)).parameters
    except ObjectNotFound as error:
        raise SetupError(ErrorCode.DEPLOYMENT_MISSING, f"The Prefect server has no deployment {deployment}.") from error
    options = TranscriptionOptions.model_validate(defaults.get("options") or {}, context=STORED)
    return (await apply_profile(profile or defaults.get("profile"), options, ExecutionOptions()))[0]


async def start_ingests(
    client: PrefectClient, deployment: str, queue_url: str, keys: Iterable[str], parameters: dict[str, Any]
) -> int:
    """Start runs of `ingest` for keys that are not in a run in progress; returns the number of these keys.

    ``parameters``: the runs' parameters other than the keys.
    """
    places = (queue_url, parameters["source"], parameters["destination"])
    tag = f"{WATCH_TAG}{hashlib.sha256(' '.join(places).encode()).hexdigest()[:16]}"
    runs = await read_all(client, flow_run_filter=select_runs(*UNFINISHED, tags=[tag]))
    carried = {key for run in runs for key in run.parameters.get("selection", {}).get("only", ())}
    left = sorted(set(keys) - carried)
    for number, some in enumerate(_split(left)):
        await arun_deployment(
            deployment,
            client=client,
            parameters={**parameters, "selection": {"only": some}},
            idempotency_key=f"watch-{runtime.flow_run.id}-{number}",  # a repeated request returns the same run
            tags=[tag],
            timeout=0,
            as_subflow=False,
        )
    return len(left)


def _split(keys: Iterable[str]) -> Iterator[list[str]]:
    """Split keys into groups that fit into a run's parameters."""
    some, size = list[str](), 0
    for key in keys:
        length = len(json.dumps(key)) + 2
        if some and size + length > _MOST_BYTES:
            yield some
            some, size = [], 0
        some.append(key)
        size += length
    if some:
        yield some
