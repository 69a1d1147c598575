"""Applies the automations of `deployments/automations.yaml` to a server. Other automations are not changed."""

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

# The names, with those in earlier versions, whose automations matched every run on the server.
_NAMES = {
    ZOMBIES: "stenopool: runs whose machine is gone",
    FAILURES: "stenopool: a run failed",
    NEVER_STARTED: None,
}
ALL_NAMES = frozenset(filter(None, (*_NAMES, *_NAMES.values())))
# Maximum time between a worker taking a run and the run's start. On Kubernetes it includes the wait for a GPU node.
LONGEST_START: dict[Target, timedelta] = {"local": timedelta(minutes=10), "kubernetes": timedelta(hours=6)}


async def check_automations(client: PrefectClient, *, adopt: bool) -> None:
    """Raise `SetupError` NAME_TAKEN if another automation has one of Stenopool's names, unless ``adopt`` is set."""
    for name in _NAMES:
        for automation in await client.read_automations_by_name(name):
            if not adopt and MARK not in automation.description:
                raise SetupError(
                    ErrorCode.NAME_TAKEN,
                    f"The server has an automation {name} that Stenopool did not create.",
                    remedy="Rename it. If it is no longer needed, overwrite it with `stenopool deploy --adopt`.",
                )


async def apply_automations(client: PrefectClient, target: Target, notify: str | None) -> None:
    """Create or update all automations by name, after `check_automations`.

    ``notify``: the block for failure notifications, as type/name; None keeps the current one. Raises `SetupError` for
    an unknown block.
    """
    find = client.read_automations_by_name
    found = {name: [*await find(name), *(await find(former) if former else ())] for name, former in _NAMES.items()}
    block = await _block_id(client, notify) if notify else None
    if block is None and found[FAILURES] and found[FAILURES][0].name != FAILURES:  # created by an earlier version
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
    """The automations in the file. ``block``: for notifications of failures; without it, that automation is omitted."""
    text = (shipped.folder() / "deployments/automations.yaml").read_text("utf-8")
    seconds = f"{LONGEST_START[target].total_seconds():.0f}"
    text = text.replace("LONGEST_START", seconds).replace("NOTIFICATION_BLOCK", str(block))
    wanted = yaml.safe_load(text)["automations"]
    return [AutomationCore.model_validate(one) for one in wanted if block or one["name"] != FAILURES]


async def end_runs_that_never_started(client: PrefectClient, target: Target) -> list[str]:
    """End runs that have waited too long for their start; returns their names.

    The automation does this only after it has been created, and only for runs whose events the server has kept. Without
    Redis, the latest events are in memory and are lost when the server is killed.
    """
    too_old, ended = datetime.now(UTC) - LONGEST_START[target], list[str]()
    for run in await read_all(client, flow_run_filter=select_runs(StateType.PENDING, tags=[TAG])):
        if run.state and run.state.timestamp < too_old:
            message = "It never started, because its worker is gone. The next ingest processes its recordings."
            await client.set_flow_run_state(run.id, Crashed(message=message))
            ended.append(run.name)
    return ended


async def _block_id(client: PrefectClient, block: str) -> UUID:
    kind, _, name = block.partition("/")
    try:
        return (await client.read_block_document_by_name(name, kind)).id
    except NotOnServer as error:
        raise ObjectNotFound(
            f"The block {block} does not exist.",
            remedy="Save a notification block in the Prefect UI under Blocks, and specify it as type/name.",
        ) from error
