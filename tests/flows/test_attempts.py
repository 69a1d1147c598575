"""A shard's run that is started again, as Prefect does when a pod was moved: its result covers both attempts."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from stenopool.errors import AccessDenied, SetupError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.outcomes import fold
from stenopool.pipeline.receipts import list_receipts
from stenopool.pipeline.shards import Plan, read_log, split_into_shards
from stenopool.pipeline.stages import publish
from stenopool.settings import get_settings
from stenopool.storage import open_store
from tests.support.speech import needs_speech, recording_path, recordings

pytestmark = needs_speech

OPTIONS = TranscriptionOptions(model="tiny.en", diarization="off")
EXECUTION = ExecutionOptions(device="cpu", formats=("txt",))
BATCH = "20260101T000000Z-aaaaaaaa"


def test_the_result_counts_work_of_the_first_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stenopool.orchestration import entrypoints

    prepare = entrypoints.load("prepare")
    transcribe = entrypoints.load("transcribe")

    monkeypatch.setenv("STENOPOOL_BATCH__BATCH_RECORDINGS", "1")
    get_settings.cache_clear()
    (tmp_path / "source").mkdir()
    for item in recordings("en_short")[:2]:
        shutil.copy(recording_path(item["file"]), tmp_path / "source")
    source, destination = open_store(str(tmp_path / "source")), open_store(str(tmp_path / "out"))
    plan = Plan(source, destination, OPTIONS, Selection())
    (shard,) = split_into_shards(plan.items(), BATCH, get_settings().batch)
    shard.write(destination)
    parameters: dict[str, Any] = {
        "source": str(tmp_path / "source"),
        "destination": str(tmp_path / "out"),
        "batch": BATCH,
        "shard": 0,
        "options": OPTIONS,
        "execution": EXECUTION,
    }
    asyncio.run(prepare(**parameters))

    real, calls = publish.receipts.write, []

    def second_is_cut_off(*arguments: Any) -> bool:
        calls.append(arguments)
        if len(calls) == 2:
            raise AccessDenied("the pod is gone")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(publish.receipts, "write", second_is_cut_off)
        with pytest.raises((ExceptionGroup, SetupError)):
            asyncio.run(transcribe(**parameters))
    assert len(list(list_receipts(destination))) == 1

    asyncio.run(transcribe(**parameters))
    prepared, transcribed = (read_log(destination, shard, flow) for flow in ("prepare", "transcribe"))
    assert prepared is not None
    assert transcribed is not None
    totals = fold([transcribed])
    assert totals.ends == {"done": 2}
    assert totals.audio_seconds == pytest.approx(sum(one.duration or 0.0 for one in prepared.outcomes))
    assert totals.tally.checkpoints["transcribe"] == 1
