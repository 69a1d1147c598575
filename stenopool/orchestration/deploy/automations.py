"""The automations of `deployments/automations.yaml`, applied to a server. Others' are left alone."""

from uuid import UUID

import yaml
from prefect.client.orchestration import PrefectClient
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound as NotOnServer

from stenopool import shipped
from stenopool.errors import ErrorCode, ObjectNotFound, SetupError
from stenopool.orchestration.names import FAILURES, MARK, ZOMBIES

# Their names in versions whose automations matched every run on the server.
FORMER_NAMES = {ZOMBIES: "stenopool: runs whose machine is gone", FAILURES: "stenopool: a run failed"}


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
    find = client.read_automations_by_name
    found = {name: [*await find(name), *await find(former)] for name, former in FORMER_NAMES.items()}
    block = await _block_id(client, notify) if notify else None
    if block is None and found[FAILURES] and found[FAILURES][0].name != FAILURES:  # made by an earlier version
        sends = (action for action in found[FAILURES][0].actions if isinstance(action, SendNotification))
        block = next((action.block_document_id for action in sends), None)
    for wanted in read_automations(block):
        there = found[wanted.name]
        for extra in there[1:]:
            await client.delete_automation(extra.id)
        if not there:
            await client.create_automation(wanted)
        elif there[0].model_dump(include=set(AutomationCore.model_fields)) != wanted.model_dump():
            await client.update_automation(there[0].id, wanted)


def read_automations(block: UUID | None) -> list[AutomationCore]:
    """What the file asks for; without ``block``, which notifies people of failures, only the other one."""
    text = (shipped.folder() / "deployments/automations.yaml").read_text("utf-8")
    wanted = yaml.safe_load(text.replace("NOTIFICATION_BLOCK", str(block)))["automations"]
    return [AutomationCore.model_validate(one) for one in wanted if block or one["name"] != FAILURES]


async def _block_id(client: PrefectClient, block: str) -> UUID:
    kind, _, name = block.partition("/")
    try:
        return (await client.read_block_document_by_name(name, kind)).id
    except NotOnServer as error:
        raise ObjectNotFound(
            f"There is no block {block}.",
            remedy="Save a notification block in Prefect's page under Blocks, and name it as type/name.",
        ) from error
