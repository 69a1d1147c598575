"""Flow runs as a Prefect server lists them: by state, and page by page."""

from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType

PAGE = 200  # the most that Prefect's server gives at a time
UNDER_WAY = (StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED)
UNFINISHED = (StateType.SCHEDULED, *UNDER_WAY)


def in_states(*states: StateType) -> FlowRunFilterState:
    """A filter for runs in one of these states."""
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))


async def read_all(client: PrefectClient, **filters: Any) -> list[FlowRun]:
    """Every run that `PrefectClient.read_flow_runs` finds with these filters and this order, each once."""
    found: list[FlowRun] = []
    while True:
        page = await client.read_flow_runs(**filters, limit=PAGE, offset=len(found))
        found += page
        if len(page) < PAGE:
            return list({run.id: run for run in found}.values())  # one that moved between pages is read twice
