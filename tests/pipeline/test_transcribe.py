"""The GPU's part of a shard: work before loading models must not depend on the number of recordings."""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stenopool.errors import ModelMissing, StorageUnavailable
from stenopool.options import TranscriptionOptions
from stenopool.pipeline.checkpoints import PARTIAL, PREPARED, RECOGNIZED, STREAMED, PreparedRecording, WorkArea
from stenopool.pipeline.context import TRANSFERS, Job
from stenopool.pipeline.receipts import WORK, work_key
from stenopool.pipeline.shards import WorkItem
from stenopool.pipeline.stages.transcribe import LOAD_MODELS, transcribe
from stenopool.runtime.scratch import Scratch
from stenopool.speech.engines.base import Utterance
from stenopool.speech.loaded import LoadedModels
from stenopool.speech.transcript import AudioInfo, Prepared, Transcript
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


class _Reporting:
    """An engine that reports the beginning of each utterance, if someone wants it."""

    concurrent, version, model_digest, device, compute_type = True, "1", None, "cpu", "int8"
    asked: ClassVar[list[bool]] = []

    def transcribe(self, batch: Iterable[Utterance], _: TranscriptionOptions) -> Iterator[tuple[Utterance, Transcript]]:
        for utterance in batch:
            self.asked.append(utterance.on_progress is not None)
            if utterance.on_progress:
                utterance.on_progress(Transcript(text="Hello"))
            yield utterance, Transcript(text="Hello there.")


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("is_broken", [False, True])
def test_the_beginning_is_stored_for_a_client_that_reads_a_stream(
    is_streamed: bool, is_broken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadedModels, "engine", lambda *_: _Reporting())
    with Scratch() as scratch:
        run = run_context(tmp_path, scratch, TranscriptionOptions(diarization="off"))
        item = work_item("a")
        if is_streamed:
            run.destination.put_bytes(work_key(item.fingerprint, STREAMED), b"")
        job = Job(run, item)
        audio = AudioInfo(duration=4, sample_rate=8000, channels=1, codec="pcm_mulaw", container="wav")
        prepared = Prepared(audio=audio, channels=1, flags=[])
        job.work.keep(PREPARED, PreparedRecording(prepared=prepared, sha256="0" * 64, seconds=1))
        if is_broken:  # the store refuses it, and the recording is transcribed all the same
            monkeypatch.setattr(WorkArea, "save", _refusing(WorkArea.save))
        transcribe(run, iter([job]), lambda _: None)
        assert job.work.load(RECOGNIZED).channels[0].text == "Hello there."
        stored = [info.key for info in run.destination.list(work_key(item.fingerprint, "partial"))]
        assert bool(stored) == (is_streamed and not is_broken)
        assert _Reporting.asked[-1] == is_streamed
        if stored:
            assert WorkArea(run.destination, item.fingerprint).load(PARTIAL).transcript.text == "Hello"
        job.work.remove()
        assert not list(run.destination.list(WORK))


def _refusing(save: Any) -> Any:
    def refuse(area: WorkArea, checkpoint: Any, result: Any) -> None:
        if checkpoint is PARTIAL:
            raise StorageUnavailable("no")
        save(area, checkpoint, result)

    return refuse
