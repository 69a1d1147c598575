"""A destination written by an earlier version is read and resumed without repeated work.

The fixture holds the destination after three runs of `stenopool run` of commit f6cd9c7: one that ended, one that was
killed after transcribing its recording, and one killed after preparing it. Audio is left out. This test creates the
sources, which are tones; two of the transcripts are of a speech, so that they have words.
"""

import asyncio
import json
import math
import os
import struct
import wave
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import soundfile

from stenopool.exporter.ledger import Ledger
from stenopool.options import ExecutionOptions, Format, TranscriptionOptions
from stenopool.orchestration import entrypoints
from stenopool.pipeline import checkpoints
from stenopool.pipeline.catalog import Selection, list_entries
from stenopool.pipeline.quarantine import list_quarantined, plan_attempts
from stenopool.pipeline.receipts import WORK, list_receipts, read
from stenopool.pipeline.report import BatchReport
from stenopool.pipeline.shards import read_shards
from stenopool.speech.transcript import Transcript
from stenopool.storage import ObjectStore, open_store
from tests.cli.conftest import Call, stenopool
from tests.flows.test_ingest import calls
from tests.support.speech import needs_speech

__all__ = ["calls", "stenopool"]  # fixtures

FIXTURE = Path(__file__).parents[1] / "pipeline" / "fixtures" / "old_destination.json"
OPTIONS = TranscriptionOptions(model="tiny.en", diarization="off")
WRITTEN = 1_790_000_000  # the sources' modification time, from which a folder derives their ETags
DONE, TRANSCRIBED, PREPARED, BROKEN = "a done.wav", "b transcribed.wav", "c prepared.wav", "broken.wav"
TONES = {DONE: (2, 440), TRANSCRIBED: (3, 330), PREPARED: (4, 220)}
VERSIONS = {"prepare": 1, "transcribe": 3, "align": 1, "diarize": 1, "assign": 1}
SPOKEN = "ask what you can do for your country"


@pytest.fixture(autouse=True)
def versions_of_then() -> Iterator[None]:
    """The versions of the stages that wrote the fixture. A higher version would intentionally make its recordings
    pending.
    """
    known = [each for each in vars(checkpoints).values() if isinstance(each, checkpoints.Checkpoint)]
    stages = [each for each in known if each.name in checkpoints.STAGE_VERSIONS]
    now = {stage.name: stage.version for stage in stages}

    def set_versions(versions: dict[str, int]) -> None:
        for stage in stages:
            object.__setattr__(stage, "version", versions[stage.name])
        checkpoints.STAGE_VERSIONS.update(versions)

    set_versions(VERSIONS)
    yield
    set_versions(now)


@pytest.fixture
def source(tmp_path: Path) -> ObjectStore:
    folder = tmp_path / "calls"
    folder.mkdir()
    for key, (seconds, hertz) in TONES.items():
        samples = (int(8000 * math.sin(2 * math.pi * hertz * n / 16000)) for n in range(16000 * seconds))
        with wave.open(str(folder / key), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    (folder / BROKEN).write_bytes(b"not audio")
    for path in folder.iterdir():
        os.utime(path, (WRITTEN, WRITTEN))
    return open_store(str(folder))


@pytest.fixture
def destination(tmp_path: Path, source: ObjectStore) -> ObjectStore:
    store = open_store(str(tmp_path / "transcripts"))
    for key, content in json.loads(FIXTURE.read_text()).items():
        store.put_bytes(key, content.encode())
        if key.endswith("/prepare.v1.json"):
            flac = tmp_path / "audio.flac"
            soundfile.write(flac, [0.0] * 16000, 16000)
            store.put_file(key.replace("prepare.v1.json", "audio.flac"), flac)
    return store


def states(source: ObjectStore, destination: ObjectStore, formats: tuple[Format, ...] = ()) -> dict[str, str]:
    return {e.recording.key: e.state for e in list_entries(source, destination, OPTIONS, formats=formats)}


def ingest(source: ObjectStore, destination: ObjectStore, *only: str, formats: Iterable[Format]) -> BatchReport:
    execution = ExecutionOptions(device="cpu", formats=tuple(formats))
    flow, selection = entrypoints.load("ingest"), Selection(only=only)
    given = {"options": OPTIONS, "execution": execution, "selection": selection}
    report = asyncio.run(flow(source.uri, destination.uri, **given))
    assert isinstance(report, BatchReport)
    return report


def test_finished_work_is_planned_as_done(source: ObjectStore, destination: ObjectStore) -> None:
    expected = {DONE: "done", TRANSCRIBED: "new", PREPARED: "new", BROKEN: "quarantined"}
    assert states(source, destination) == expected
    assert states(source, destination, ("json", "srt")) == {**expected, DONE: "render"}


def test_receipts_reports_manifests_and_metrics_are_read(
    source: ObjectStore, destination: ObjectStore, stenopool: Call
) -> None:
    found = json.loads(stenopool("status", destination.uri, "--json").out)
    assert (found["done"], found["quarantined"]) == (1, 1)
    assert [failure["failure"]["code"] for failure in found["failures"]] == ["NOT_AUDIO"]
    (batch,) = found["batches"]
    assert (batch["done"], batch["quarantined"], batch["options"]["model"]) == (1, 1, "tiny.en")
    # The receipt of the quarantined recording lacks the options; the batch report has them.
    (attempt,) = plan_attempts(destination, list_quarantined(destination, ()), None, None, lambda _: source)
    assert (attempt.options, attempt.keys) == (OPTIONS, (BROKEN,))

    (done,) = (name for name in list_receipts(destination) if name.status == "done")
    receipt = read(destination, done)
    assert receipt
    assert receipt.formats == ("json", "txt")
    batches = sorted({info.key.split("/")[1] for info in destination.list(".batches/")})
    items = [item for name in batches for shard in read_shards(destination, name) for item in shard.items]
    assert {item.recording.key for item in items} == {DONE, TRANSCRIBED, PREPARED, BROKEN}
    fingerprints = {entry.recording.key: entry.fingerprint for entry in list_entries(source, destination, OPTIONS)}
    assert {item.recording.key: item.fingerprint for item in items} == fingerprints

    ledger = Ledger(destination, is_over=lambda _: True)
    ledger.refresh()  # two of its batches were killed; their receipts have the outcomes
    assert ledger.sums.batches == {"complete": 1, "lost": 2}
    assert ledger.sums.recordings["done"] == 1
    assert ledger.sums.recordings["quarantined NOT_AUDIO"] == 1
    assert ledger.sums.recordings["deferred RUN_LOST"] == 2


@needs_speech
@pytest.mark.usefixtures("prefect_api")
def test_it_is_resumed_without_speech_work(source: ObjectStore, destination: ObjectStore, calls: Counter[str]) -> None:
    report = ingest(source, destination, DONE, TRANSCRIBED, formats=("json", "txt"))
    assert (report.new, report.done, report.already_done, report.failed) == (1, 1, 1, [])
    assert calls == {}
    transcript = Transcript.model_validate_json(destination.get_bytes(f"{TRANSCRIBED}/transcript.json"))
    assert SPOKEN in transcript.text

    report = ingest(source, destination, PREPARED, formats=("json", "txt"))
    assert (report.done, calls) == (1, {"transcribe": 1})

    # One more format of everything, from the transcripts of both versions.
    report = ingest(source, destination, DONE, TRANSCRIBED, PREPARED, formats=("json", "txt", "srt"))
    assert (report.new, report.rendered, report.failed) == (0, 3, [])
    for key in (DONE, TRANSCRIBED):
        assert SPOKEN in " ".join(destination.get_bytes(f"{key}/transcript.srt").decode().split())
    assert states(source, destination, ("json", "txt", "srt")) == {
        **dict.fromkeys((DONE, TRANSCRIBED, PREPARED), "done"),
        BROKEN: "quarantined",
    }
    assert calls == {"transcribe": 1}
    assert list(destination.list(WORK)) == []
