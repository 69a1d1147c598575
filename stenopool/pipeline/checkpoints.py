"""Stage results, kept in memory and, until the receipt exists, at the destination, so a killed run can resume."""

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
    """Result of `prepare`; the audio is stored next to it as FLAC. ``seconds``: processing time."""

    prepared: Prepared
    sha256: str
    seconds: float


class Recognized(BaseModel):
    """A transcript per channel, and the engine that produced them. ``seconds``: processing time."""

    channels: list[Transcript]
    engine_version: str
    model_digest: str | None = None
    device: str
    compute_type: str
    seconds: float


class Partial(BaseModel):
    """The transcript of the beginning of a recording that is being transcribed, for clients that read a stream."""

    transcript: Transcript


class Diarized(BaseModel):
    """Who speaks when. ``diarizer``: if missing, the one in the options. ``seconds``: processing time."""

    turns: list[SpeakerTurn]
    diarizer: str | None = None
    diarizer_version: str
    seconds: float


@dataclass(frozen=True)
class Checkpoint(Generic[M]):
    """A type of stage result.

    Increase ``version`` when the stage's results change for the same input: all recordings become pending again, and
    checkpoints of the old version are not used.
    """

    name: str
    version: int
    model: type[M]

    @property
    def file_name(self) -> str:
        """Its name in the work area. It contains the version, so checkpoints of other versions are ignored."""
        return f"{self.name}.v{self.version}.json"


PREPARED = Checkpoint("prepare", 2, PreparedRecording)
RECOGNIZED = Checkpoint("transcribe", 4, Recognized)
ALIGNED = Checkpoint("align", 1, Recognized)
DIARIZED = Checkpoint("diarize", 1, Diarized)
# Not a stage's result. It is written only if the work area contains an object called STREAMED when a stage first looks.
PARTIAL = Checkpoint("partial", 1, Partial)
STREAMED = "streamed"
# Kept in memory only, because computing it again takes milliseconds.
ASSIGNED = Checkpoint("assign", 2, Transcript)

# Part of every fingerprint.
STAGE_VERSIONS: dict[str, int] = {
    checkpoint.name: checkpoint.version for checkpoint in (PREPARED, RECOGNIZED, ALIGNED, DIARIZED, ASSIGNED)
}


class WorkArea:
    """The stages' results for one fingerprint. Checkpoints are listed once; this process's results stay in memory.

    Thread-safe.
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

    @property
    def is_streamed(self) -> bool:
        """Whether a client reads `PARTIAL`."""
        return STREAMED in self._names()

    def keep(self, checkpoint: Checkpoint[M], result: M) -> None:
        """Keep a result in memory only; other runs do not see it."""
        self._kept[checkpoint.name] = result

    def save(self, checkpoint: Checkpoint[M], result: M) -> None:
        """Store a result at the destination, so that it survives this process."""
        self.keep(checkpoint, result)
        key = work_key(self._fingerprint, checkpoint.file_name)
        self._store.put_bytes(key, result.model_dump_json().encode(), content_type="application/json")
        self._names().add(checkpoint.file_name)

    def load(self, checkpoint: Checkpoint[M]) -> M:
        """Return a stage's result. Raises `ObjectNotFound` if it is neither in memory nor at the destination."""
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
        """Delete all checkpoints, the audio last: an interrupted deletion leaves no checkpoint without its audio."""
        for name in sorted(self._names(), key=lambda name: name == AUDIO):
            self._store.delete(work_key(self._fingerprint, name))
        self._listed = set()
        self.release()

    def release(self) -> None:
        """Drop the results kept in memory."""
        self._kept.clear()
