"""What stages leave for one another: the results that a killed run need not make again."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from stenopool.speech.audio.prepared import Prepared
from stenopool.speech.transcript import SpeakerTurn, Transcript

M = TypeVar("M", bound=BaseModel)


class PreparedRecording(BaseModel):
    """The audio is beside it as FLAC. ``seconds``: time it took."""

    prepared: Prepared
    sha256: str
    seconds: float


class Recognized(BaseModel):
    """A transcript per channel, and what made them. ``seconds``: time it took."""

    channels: list[Transcript]
    engine_version: str
    model_digest: str | None = None
    device: str
    compute_type: str
    seconds: float


class Diarized(BaseModel):
    """Who speaks when. ``seconds``: time it took."""

    turns: list[SpeakerTurn]
    diarizer_version: str
    seconds: float


@dataclass(frozen=True)
class Checkpoint(Generic[M]):
    """A stage's result.

    Raise ``version`` when the stage's results change for the same input: every recording then becomes pending again,
    and checkpoints of the old version are not used.
    """

    name: str
    version: int
    model: type[M]

    @property
    def file_name(self) -> str:
        """Its name in the work area. It carries the version, so one of another version is not seen."""
        return f"{self.name}.v{self.version}.json"


PREPARED = Checkpoint("prepare", 1, PreparedRecording)
RECOGNIZED = Checkpoint("transcribe", 3, Recognized)
ALIGNED = Checkpoint("align", 1, Recognized)
DIARIZED = Checkpoint("diarize", 1, Diarized)
# Kept in memory only: it is made again in milliseconds.
ASSIGNED = Checkpoint("assign", 1, Transcript)

# Part of every fingerprint.
STAGE_VERSIONS: dict[str, int] = {
    checkpoint.name: checkpoint.version for checkpoint in (PREPARED, RECOGNIZED, ALIGNED, DIARIZED, ASSIGNED)
}
