"""Ids and metadata that clients attach to a recording or a batch. They are returned unchanged.

<destination>/.api/clients/<digest of the recording's key, or the run's id>.json
"""

import hashlib
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from stenopool.pipeline.receipts import API, read_model
from stenopool.storage import ObjectStore

_Name = Annotated[str, Field(min_length=1, max_length=64)]
_Value = Annotated[str, Field(max_length=512)]


class ClientData(BaseModel):
    """Client data of a recording or a batch."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    external_id: Annotated[str | None, Field(min_length=1, max_length=200)] = None
    """The client's id for this, e.g. a call number. Returned in the state and in callbacks."""
    metadata: Annotated[dict[_Name, _Value], Field(max_length=16)] = {}
    """The client's data, returned like external_id: at most 16 pairs of a name (64 characters) and a value (512)."""

    @property
    def is_given(self) -> bool:
        return bool(self.external_id or self.metadata)


def read_client_data(destination: ObjectStore, about: str | UUID) -> ClientData:
    """Return the data attached to a recording (by key) or a run (by id); empty if there is none."""
    return read_model(destination, _name(about), ClientData) or ClientData()


def write_client_data(destination: ObjectStore, about: str | UUID, data: ClientData) -> None:
    """Replace the attached data. If the request has no data, nothing changes."""
    if data.is_given:
        content = ClientData(external_id=data.external_id, metadata=data.metadata).model_dump_json()
        destination.put_bytes(_name(about), content.encode(), content_type="application/json")


def delete_client_data(destination: ObjectStore, about: str | UUID) -> None:
    destination.delete(_name(about))


def _name(about: str | UUID) -> str:
    name = str(about) if isinstance(about, UUID) else hashlib.sha256(about.encode()).hexdigest()[:32]
    return f"{API}clients/{name}.json"
