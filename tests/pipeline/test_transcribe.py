"""The GPU's part of a shard: work before loading models must not depend on the number of recordings."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stenopool.errors import ModelMissing
from stenopool.options import TranscriptionOptions
from stenopool.pipeline.context import TRANSFERS
from stenopool.pipeline.shards import WorkItem
from stenopool.pipeline.stages.transcribe import LOAD_MODELS
from stenopool.runtime.scratch import Scratch
from stenopool.speech.loaded import LoadedModels
from stenopool.storage.base import ObjectInfo
from stenopool.storage.local import LocalStore
from tests.support.runs import carry, run_context, work_item

COUNT = 200


class _Counting(LocalStore):
    """Counts listings and reads."""

    requests = 0
    lock = threading.Lock()

    def list(self, *arguments: Any, **named: Any) -> Iterator[ObjectInfo]:
        with self.lock:
            self.requests += 1
        return super().list(*arguments, **named)


def items() -> Iterator[WorkItem]:
    for number in range(COUNT):
        yield work_item("a").model_copy(update={"fingerprint": f"{number:032x}"})


def test_models_are_loaded_before_the_work_area_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is paid by the hour must not wait for a listing per recording."""
    store, before = _Counting(tmp_path / "out"), []

    def engine(*_: Any) -> None:
        before.append(store.requests)
        raise ModelMissing("no weights")  # ends the stage, and the test

    monkeypatch.setattr(LoadedModels, "engine", engine)
    with Scratch() as scratch:
        run = replace(run_context(tmp_path, scratch, TranscriptionOptions(diarization="off")), destination=store)
        _, errors = carry(run, (LOAD_MODELS,), items())
    assert ModelMissing in [type(error) for error in errors]
    assert before[0] <= TRANSFERS < COUNT
    assert not LOAD_MODELS.waits_for
