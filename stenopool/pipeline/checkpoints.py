"""What stages leave for one another: in memory, and at the destination until the receipt exists, for a killed run."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from stenopool.pipeline.receipts import WORK, work_key
from stenopool.speech.transcript import Prepared, SpeakerTurn, Transcript
from stenopool.storage.base import ObjectStore

AUDIO = "audio.flac"

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
    """Who speaks when, by which diarizer (that of the options, if it is not there). ``seconds``: time it took."""

    turns: list[SpeakerTurn]
    diarizer: str | None = None
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


PREPARED = Checkpoint("prepare", 2, PreparedRecording)
RECOGNIZED = Checkpoint("transcribe", 4, Recognized)
ALIGNED = Checkpoint("align", 1, Recognized)
DIARIZED = Checkpoint("diarize", 1, Diarized)
# Kept in memory only: it is made again in milliseconds.
ASSIGNED = Checkpoint("assign", 2, Transcript)

# Part of every fingerprint.
STAGE_VERSIONS: dict[str, int] = {
    checkpoint.name: checkpoint.version for checkpoint in (PREPARED, RECOGNIZED, ALIGNED, DIARIZED, ASSIGNED)
}


class WorkArea:
    """Results of the stages for one fingerprint. Checkpoints are listed once; what this process makes stays in memory.

    Methods may be called from several threads.
    """

    def __init__(self, store: ObjectStore, fingerprint: str) -> None:
        self._store = store
        self._fingerprint = fingerprint
        self._listed: set[str] | None = None
        self._kept: dict[str, object] = {}
        self._lock = threading.Lock()

    def _names(self) -> set[str]:
        with self._lock:
            if self._listed is None:
                prefix = f"{WORK}{self._fingerprint}/"
                self._listed = {info.key.removeprefix(prefix) for info in self._store.list(prefix)}
            return self._listed

    def has(self, checkpoint: Checkpoint[M]) -> bool:
        """Whether the checkpoint is at the destination, from this run or an earlier one."""
        return checkpoint.file_name in self._names()

    def keep(self, checkpoint: Checkpoint[M], result: M) -> None:
        """Hold a result in memory only: other runs do not see it."""
        self._kept[checkpoint.name] = result

    def save(self, checkpoint: Checkpoint[M], result: M) -> None:
        """Store a result at the destination: whatever happens to this process, the stage is done."""
        self.keep(checkpoint, result)
        key = work_key(self._fingerprint, checkpoint.file_name)
        self._store.put_bytes(key, result.model_dump_json().encode(), content_type="application/json")
        self._names().add(checkpoint.file_name)

    def load(self, checkpoint: Checkpoint[M]) -> M:
        """A stage's result. Raises `ObjectNotFound` if it is neither in memory nor at the destination."""
        kept = self._kept.get(checkpoint.name)
        if isinstance(kept, checkpoint.model):
            return kept
        data = self._store.get_bytes(work_key(self._fingerprint, checkpoint.file_name))
        return checkpoint.model.model_validate_json(data)

    def put_audio(self, path: Path) -> None:
        """Store the prepared audio."""
        self._store.put_file(work_key(self._fingerprint, AUDIO), path, content_type="audio/flac")
        self._names().add(AUDIO)

    def get_audio(self, path: Path) -> None:
        """Download the prepared audio."""
        self._store.get_file(work_key(self._fingerprint, AUDIO), path)

    def remove(self) -> None:
        """Remove every checkpoint; audio last, so that an interrupted removal leaves nothing half-usable."""
        for name in sorted(self._names(), key=lambda name: name == AUDIO):
            self._store.delete(work_key(self._fingerprint, name))
        self._listed = set()
        self.release()

    def release(self) -> None:
        """Drop what is held in memory."""
        self._kept.clear()
