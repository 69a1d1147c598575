"""What one stage leaves for the next: in memory, and as checkpoints at the destination until the receipt is there."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from stenopool.pipeline.receipts import WORK, work_key
from stenopool.pipeline.recordings import STAGE_VERSIONS
from stenopool.storage.base import ObjectStore

M = TypeVar("M", bound=BaseModel)
AUDIO = "audio.flac"


class WorkArea:
    """Results of the stages for one fingerprint. Checkpoints are listed once; what this process makes is at hand.

    A checkpoint's name carries its stage's version: one of another version is not seen. ``found`` is told, once, which
    stages an earlier run had done.
    """

    def __init__(
        self, store: ObjectStore, fingerprint: str, found: Callable[[frozenset[str]], object] | None = None
    ) -> None:
        self._store = store
        self._found = found
        self._fingerprint = fingerprint
        self._listed: set[str] | None = None
        self._kept: dict[str, BaseModel] = {}
        self._lock = threading.Lock()

    def _names(self) -> set[str]:
        with self._lock:
            if self._listed is None:
                prefix = f"{WORK}{self._fingerprint}/"
                self._listed = {info.key.removeprefix(prefix) for info in self._store.list(prefix)}
                if self._found:
                    self._found(frozenset(stage for stage in STAGE_VERSIONS if _name(stage) in self._listed))
            return self._listed

    def has(self, stage: str) -> bool:
        """Whether the stage's checkpoint is at the destination, of this run or of an earlier one."""
        return _name(stage) in self._names()

    def keep(self, stage: str, result: BaseModel) -> None:
        """Have a result at hand that would be made again in no time, or is not to be seen by other runs yet."""
        self._kept[stage] = result

    def save(self, stage: str, result: BaseModel) -> None:
        """Make a result a checkpoint: whatever becomes of this process, the stage is done."""
        self.keep(stage, result)
        key = work_key(self._fingerprint, _name(stage))
        self._store.put_bytes(key, result.model_dump_json().encode(), content_type="application/json")
        self._names().add(_name(stage))

    def load(self, stage: str, kind: type[M]) -> M:
        """A stage's result; `SetupError` OBJECT_NOT_FOUND if there is neither one at hand nor a checkpoint."""
        if isinstance(kept := self._kept.get(stage), kind):
            return kept
        return kind.model_validate_json(self._store.get_bytes(work_key(self._fingerprint, _name(stage))))

    def put_audio(self, path: Path) -> None:
        self._store.put_file(work_key(self._fingerprint, AUDIO), path, content_type="audio/flac")
        self._names().add(AUDIO)

    def get_audio(self, path: Path) -> None:
        self._store.get_file(work_key(self._fingerprint, AUDIO), path)

    def remove(self) -> None:
        """Remove every checkpoint; audio last, so that an interrupted removal leaves nothing half-usable."""
        for name in sorted(self._names(), key=lambda name: name == AUDIO):
            self._store.delete(work_key(self._fingerprint, name))
        self._listed = set()
        self._kept.clear()


def _name(stage: str) -> str:
    return f"{stage}.v{STAGE_VERSIONS[stage]}.json"
