"""Lists flow runs of a Prefect server, with filters and page by page."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType

PAGE = 200  # maximum page size of Prefect's server
IN_PROGRESS = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED)
UNFINISHED = (StateType.SCHEDULED, *IN_PROGRESS)


def select_runs(
    *states: StateType, tags: Collection[str] = (), parents: Collection[UUID] = (), due: datetime | None = None
) -> FlowRunFilter:
    """A filter for runs in one of these states, with all of these tags.

    ``parents``: only runs started by one of these. ``due``: only runs scheduled before this time, because schedules
    create runs days in advance.
    """
    chosen = {
        "state": {"type": {"any_": list(states)}},
        "tags": {"all_": list(tags)} if tags else None,
        "parent_flow_run_id": {"any_": list(parents)} if parents else None,
        "expected_start_time": {"before_": due} if due else None,
    }
    return FlowRunFilter.model_validate(chosen)


async def read_all(client: PrefectClient, **filters: Any) -> list[FlowRun]:
    """All runs that `PrefectClient.read_flow_runs` finds with these filters and this order, without duplicates."""
    found: list[FlowRun] = []
    while True:
        page = await client.read_flow_runs(**filters, limit=PAGE, offset=len(found))
        found += page
        if len(page) < PAGE:
            return list({run.id: run for run in found}.values())  # a run that moved between pages is read twice
