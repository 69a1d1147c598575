"""What the server does by itself: runs whose machine vanished are ended, failures are told to people.

Nothing is run again blindly: one run came to three live pods that way. The schedule plans again from the receipts.
"""

from datetime import timedelta

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound as NotOnServer

from stenopool.errors import ObjectNotFound

# Set in every pool's job template (PREFECT_FLOWS_HEARTBEAT_FREQUENCY).
HEARTBEAT_SECONDS = 30
ZOMBIES = "stenopool: runs whose machine is gone"
FAILURES = "stenopool: a run failed"
_OVER = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", "Cancelling")}
_HEARTBEAT = "prefect.flow-run.heartbeat"


def zombies() -> AutomationCore:
    """Ends a run that has sent no sign of life for four periods; a busy machine may miss one or two."""
    return AutomationCore(
        name=ZOMBIES,
        description="A run without a heartbeat is marked as crashed, so that its slot is free again.",
        trigger=EventTrigger(
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *_OVER},
            match={"prefect.resource.id": "prefect.flow-run.*"},
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


async def failures(client: PrefectClient, block: str) -> AutomationCore:
    """Tells people, through a saved notification block such as ``slack-webhook/operations``."""
    kind, _, name = block.partition("/")
    try:
        saved = await client.read_block_document_by_name(name, kind)
    except NotOnServer as error:
        raise ObjectNotFound(
            f"There is no block {block}.",
            remedy="Save a notification block in Prefect's page under Blocks, and name it as type/name.",
        ) from error
    return AutomationCore(
        name=FAILURES,
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[
            SendNotification(
                block_document_id=saved.id,
                subject="Stenopool: {{ flow_run.name }} is {{ flow_run.state.name }}",
                body="{{ flow_run.state.message }}\n{{ flow_run|ui_url }}",
            )
        ],
    )


async def apply_automations(client: PrefectClient, notify: str | None) -> None:
    """Create or correct them, by name. ``notify``: the block for failures; None leaves that one as it is."""
    wanted = [zombies()] + ([await failures(client, notify)] if notify else [])
    for automation in wanted:
        there = await client.read_automations_by_name(automation.name)
        for extra in there[1:]:
            await client.delete_automation(extra.id)
        if not there:
            await client.create_automation(automation)
        elif there[0].model_dump(include=set(AutomationCore.model_fields)) != automation.model_dump():
            await client.update_automation(there[0].id, automation)
