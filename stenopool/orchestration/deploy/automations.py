"""The automations of `deployments/automations.yaml`, applied to a server. Others' are left alone."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound as NotOnServer
from prefect.states import Crashed

from stenopool import shipped
from stenopool.errors import ErrorCode, ObjectNotFound, SetupError
from stenopool.orchestration.deploy.pools import Target
from stenopool.orchestration.flow_runs import read_all, select_runs
from stenopool.orchestration.names import FAILURES, MARK, NEVER_STARTED, TAG, ZOMBIES

# With their names in versions whose automations matched every run on the server.
_NAMES = {
    ZOMBIES: "stenopool: runs whose machine is gone",
    FAILURES: "stenopool: a run failed",
    NEVER_STARTED: None,
}
ALL_NAMES = frozenset(filter(None, (*_NAMES, *_NAMES.values())))
# Between a worker's taking a run and the run's start. On Kubernetes that includes the wait for a GPU node.
LONGEST_START: dict[Target, timedelta] = {"local": timedelta(minutes=10), "kubernetes": timedelta(hours=6)}


async def check_automations(client: PrefectClient, *, adopt: bool) -> None:
    """`SetupError` NAME_TAKEN if another's automation has one of our names, unless ``adopt``."""
    for name in _NAMES:
        for automation in await client.read_automations_by_name(name):
            if not adopt and MARK not in automation.description:
                raise SetupError(
                    ErrorCode.NAME_TAKEN,
                    f"The server has an automation {name} that is not Stenopool's.",
                    remedy="Rename it; if nobody needs it as it is, `stenopool deploy --adopt` overwrites it.",
                )


async def apply_automations(client: PrefectClient, target: Target, notify: str | None) -> None:
    """Create or update all, by name; `check_automations` has found that they are ours.

    ``notify``: the block for failures, as type/name; None changes nothing there. Raises `SetupError` for an unknown
    block.
    """
    find = client.read_automations_by_name
    found = {name: [*await find(name), *(await find(former) if former else ())] for name, former in _NAMES.items()}
    block = await _block_id(client, notify) if notify else None
    if block is None and found[FAILURES] and found[FAILURES][0].name != FAILURES:  # made by an earlier version
        sends = (action for action in found[FAILURES][0].actions if isinstance(action, SendNotification))
        block = next((action.block_document_id for action in sends), None)
    for wanted in read_automations(target, block):
        there = found[wanted.name]
        for extra in there[1:]:
            await client.delete_automation(extra.id)
        if not there:
            await client.create_automation(wanted)
        elif there[0].model_dump(include=set(AutomationCore.model_fields)) != wanted.model_dump():
            await client.update_automation(there[0].id, wanted)


def read_automations(target: Target, block: UUID | None) -> list[AutomationCore]:
    """What the file asks for; without ``block``, which notifies people of failures, only the others."""
    text = (shipped.folder() / "deployments/automations.yaml").read_text("utf-8")
    seconds = f"{LONGEST_START[target].total_seconds():.0f}"
    text = text.replace("LONGEST_START", seconds).replace("NOTIFICATION_BLOCK", str(block))
    wanted = yaml.safe_load(text)["automations"]
    return [AutomationCore.model_validate(one) for one in wanted if block or one["name"] != FAILURES]


async def end_runs_that_never_started(client: PrefectClient, target: Target) -> list[str]:
    """End runs that have waited for their start for too long, and return their names.

    The automation does so from the moment it exists, and only for runs whose events the server has kept: in memory,
    without Redis, the last ones are lost when it is killed.
    """
    too_old, ended = datetime.now(UTC) - LONGEST_START[target], list[str]()
    for run in await read_all(client, flow_run_filter=select_runs(StateType.PENDING, tags=[TAG])):
        if run.state and run.state.timestamp < too_old:
            message = "It never started: its worker is gone. The next ingest does the rest."
            await client.set_flow_run_state(run.id, Crashed(message=message))
            ended.append(run.name)
    return ended


async def _block_id(client: PrefectClient, block: str) -> UUID:
    kind, _, name = block.partition("/")
    try:
        return (await client.read_block_document_by_name(name, kind)).id
    except NotOnServer as error:
        raise ObjectNotFound(
            f"There is no block {block}.",
            remedy="Save a notification block in Prefect's page under Blocks, and name it as type/name.",
        ) from error
