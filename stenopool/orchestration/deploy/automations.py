"""Automations on the server: end runs whose machine vanished, and notify people of failures.

They restart nothing: that once led to three live pods for one run. The schedule plans again from the receipts.
"""

from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound as NotOnServer

from stenopool.errors import ErrorCode, ObjectNotFound, SetupError
from stenopool.orchestration.names import FAILURES, HEARTBEAT_SECONDS, MARK, TAG_RESOURCE, ZOMBIES

# Their names in versions whose automations matched every run on the server.
FORMER_NAMES = {ZOMBIES: "stenopool: runs whose machine is gone", FAILURES: "stenopool: a run failed"}
_OVER = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", "Cancelling")}
_HEARTBEAT = "prefect.flow-run.heartbeat"
_RUNS = {"prefect.resource.id": "prefect.flow-run.*"}


def zombies() -> AutomationCore:
    """Ends a run that sent no heartbeat for four periods; a busy machine may miss one or two."""
    return AutomationCore(
        name=ZOMBIES,
        description=f"A run without a heartbeat is marked as crashed, so that its slot is free again. {MARK}",
        trigger=EventTrigger(
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *_OVER},
            match=_RUNS,
            match_related=TAG_RESOURCE,
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=4 * HEARTBEAT_SECONDS),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message="No heartbeat: its machine is gone. The next ingest takes up what is not done.",
            )
        ],
    )


def failures(block: UUID) -> AutomationCore:
    """Notifies people of failed runs, through the notification block with this id."""
    return AutomationCore(
        name=FAILURES,
        description=f"People are notified of runs that failed or crashed. {MARK}",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match=_RUNS,
            match_related=TAG_RESOURCE,
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=block,
                subject="Stenopool: {{ flow_run.name }} is {{ flow_run.state.name }}",
                body="{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
            )
        ],
    )


async def check_automations(client: PrefectClient, *, adopt: bool) -> None:
    """`SetupError` NAME_TAKEN if another's automation has one of our names, unless ``adopt``."""
    for name in FORMER_NAMES:
        for automation in await client.read_automations_by_name(name):
            if not adopt and MARK not in automation.description:
                raise SetupError(
                    ErrorCode.NAME_TAKEN,
                    f"The server has an automation {name} that is not Stenopool's.",
                    remedy="Rename it; if nobody needs it as it is, `stenopool deploy --adopt` overwrites it.",
                )


async def apply_automations(client: PrefectClient, notify: str | None) -> None:
    """Create or update both, by name; `check_automations` has found that they are ours.

    ``notify``: the block for failures, as type/name; None changes nothing there. Raises `SetupError` for an unknown
    block.
    """
    found = {name: await _read(client, name) for name in FORMER_NAMES}
    block = await _block_id(client, notify) if notify else None
    if block is None and found[FAILURES] and found[FAILURES][0].name != FAILURES:  # made by an earlier version
        sends = (action for action in found[FAILURES][0].actions if isinstance(action, SendNotification))
        block = next((action.block_document_id for action in sends), None)
    for wanted in [zombies()] + ([failures(block)] if block else []):
        there = found[wanted.name]
        for extra in there[1:]:
            await client.delete_automation(extra.id)
        if not there:
            await client.create_automation(wanted)
        elif there[0].model_dump(include=set(AutomationCore.model_fields)) != wanted.model_dump():
            await client.update_automation(there[0].id, wanted)


async def _read(client: PrefectClient, name: str) -> list[Automation]:
    """The automations with this name, and those that an earlier version made for the same purpose."""
    names = (name, FORMER_NAMES[name])
    return [automation for each in names for automation in await client.read_automations_by_name(each)]


async def _block_id(client: PrefectClient, block: str) -> UUID:
    kind, _, name = block.partition("/")
    try:
        return (await client.read_block_document_by_name(name, kind)).id
    except NotOnServer as error:
        raise ObjectNotFound(
            f"There is no block {block}.",
            remedy="Save a notification block in Prefect's page under Blocks, and name it as type/name.",
        ) from error
