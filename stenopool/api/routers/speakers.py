"""Names for the speakers of a finished recording."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from stenopool.api import speaker_files
from stenopool.api.access import CanRead, CanWrite
from stenopool.api.ids import decode
from stenopool.api.service import CurrentService
from stenopool.pipeline.speaker_names import SpeakerName

router = APIRouter(prefix="/v1/recordings", tags=["transcripts"])


class Speakers(BaseModel):
    """``names``: by the label that diarization gave; null for a speaker without a name."""

    names: dict[str, str | None]


class Names(BaseModel):
    """All names that are to be known from now on. Two labels with one name are one person."""

    model_config = ConfigDict(extra="forbid")

    names: Annotated[
        dict[str, SpeakerName],
        Field(
            max_length=1000, description="By label; a label left out loses its name.", examples=[{"SPEAKER_00": "Ann"}]
        ),
    ]


@router.get("/{id}/speakers")
async def get_speakers(id: str, service: CurrentService, caller: CanRead) -> Speakers:  # noqa: ARG001
    """The speakers that were told apart, and the names that they were given."""
    return Speakers(names=await speaker_files.read_names(service, decode(id)))


@router.put("/{id}/speakers")
async def name_speakers(id: str, asked: Names, service: CurrentService, caller: CanWrite) -> Speakers:  # noqa: ARG001
    """Name the speakers. The names are kept beside the transcript, and every format says them from now on."""
    return Speakers(names=await speaker_files.rename_speakers(service, decode(id), asked.names))
