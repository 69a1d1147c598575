"""The three flows on a real Prefect server, with real weights: which work is retried, and which is never repeated."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable
from http.client import HTTPMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import soundfile

from stenopool.errors import ErrorCode, LocationInvalid, ObjectNotFound, StorageUnavailable
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline import speaker_names
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.receipts import list_receipts, read
from stenopool.pipeline.report import BatchReport
from stenopool.settings import get_settings
from stenopool.speech.transcript import CHANNEL_BLEED, DUPLICATE_CHANNELS, SINGLE_CHANNEL, Transcript
from stenopool.storage import open_store
from stenopool.storage.local import LocalStore
from stenopool.storage.s3 import process_client
from tests.support.faults import FaultyProxy
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech, recording_path

pytestmark = needs_speech

OPTIONS = TranscriptionOptions(model="tiny.en", diarization="off")
EXECUTION = ExecutionOptions(device="cpu")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    shutil.copy(recording_path("en/jfk.flac"), folder / "jfk.flac")
    return folder


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "destination"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the actual executions of the costly work behind the stages."""
    from stenopool.pipeline.stages import prepare
    from stenopool.speech.engines.faster_whisper import FasterWhisperEngine

    counted: Counter[str] = Counter()
    _count(monkeypatch, FasterWhisperEngine, "transcribe", lambda *_: "transcribe", counted)
    _count(monkeypatch, prepare, "prepare_audio", lambda *_: "decode", counted)
    return counted


def _count(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, label: Callable[..., str], counted: Counter[str]
) -> None:
    real = getattr(owner, name)

    def counting(*args: Any, **kwargs: Any) -> Any:
        counted[label(*args)] += 1
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, counting)


def ingest(source: Path, destination: Path | str, **parameters: Any) -> BatchReport:
    from stenopool.orchestration import entrypoints

    flow = entrypoints.load("ingest")

    given = {"options": OPTIONS, "execution": EXECUTION, **parameters}
    return asyncio.run(flow(str(source), str(destination), **given))


def failing_uploads(monkeypatch: pytest.MonkeyPatch, ending: str, times: int) -> list[str]:
    """Let the next ``times`` uploads of keys with this ending fail like a dropped connection."""
    real, failed = LocalStore.put_bytes, []

    def put_bytes(self: LocalStore, key: str, *args: Any, **kwargs: Any) -> bool:
        if key.endswith(ending) and len(failed) < times:
            failed.append(key)
            raise StorageUnavailable("connection reset by peer")
        return real(self, key, *args, **kwargs)

    monkeypatch.setattr(LocalStore, "put_bytes", put_bytes)
    return failed


def test_recordings_become_transcripts_and_a_second_run_does_no_speech_work(
    source: Path, destination: Path, calls: Counter[str]
) -> None:
    first = ingest(source, destination)
    assert (first.done, first.failed, first.complete) == (1, [], True)
    transcript = Transcript.model_validate_json((destination / "jfk.flac" / "transcript.json").read_bytes())
    assert "what your country can do for you" in transcript.text
    assert transcript.provenance is not None
    assert transcript.provenance.model == "tiny.en"
    assert {p.suffix for p in (destination / "jfk.flac").iterdir()} >= {
        ".srt",
        ".vtt",
        ".txt",
        ".tsv",
        ".rttm",
        ".html",
    }

    second = ingest(source, destination)
    assert (second.new, second.done, second.already_done) == (0, 0, 1)
    assert calls == {"decode": 1, "transcribe": 1}


def test_a_destination_that_refuses_conditional_writes_ends_the_run_before_any_speech_work(
    source: Path, s3: SeaweedFS, bucket: str, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(method: str, path: str, headers: HTTPMessage) -> tuple[int, str] | None:
        return (501, "NotImplemented") if "If-None-Match" in headers else None

    with FaultyProxy(s3.s3, rules=(refuse,)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        process_client.cache_clear()
        with pytest.raises(LocationInvalid, match="If-None-Match") as caught:
            ingest(source, f"s3://{bucket}/transcripts")
        assert "STENOPOOL_STORAGE__CONDITIONAL_WRITES=false" in caught.value.remedy
        assert calls == {}
        monkeypatch.setenv("STENOPOOL_STORAGE__CONDITIONAL_WRITES", "false")
        get_settings.cache_clear()
        assert ingest(source, f"s3://{bucket}/transcripts").done == 1
        assert ingest(source, f"s3://{bucket}/transcripts").already_done == 1
    assert calls == {"decode": 1, "transcribe": 1}


def test_a_misspelt_prefix_ends_the_run(source: Path, destination: Path, calls: Counter[str]) -> None:
    with pytest.raises(ObjectNotFound, match="Nothing exists at"):
        ingest(source, destination, selection=Selection(prefix="cals/"))
    assert calls == {}
    assert not destination.exists()


@pytest.mark.parametrize(("as_it_is", "sound"), [(256 * 1024, "audio/flac"), (0, "audio/webm")])
def test_one_more_format_is_rendered_without_speech_work(
    as_it_is: int,
    sound: str,
    source: Path,
    destination: Path,
    calls: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stenopool.pipeline.stages.publish._AS_IT_IS", as_it_is)
    few = ExecutionOptions(device="cpu", formats=("txt",))
    assert ingest(source, destination, execution=few).done == 1
    assert {path.name for path in (destination / "jfk.flac").iterdir()} == {"transcript.json", "transcript.txt"}

    more = ExecutionOptions(device="cpu", formats=("txt", "srt", "html"))
    report = ingest(source, destination, execution=more)
    assert (report.new, report.done, report.rendered) == (0, 0, 1)
    assert "what you can do for your country" in (destination / "jfk.flac" / "transcript.srt").read_text()
    assert f"data:{sound};base64," in (destination / "jfk.flac" / "transcript.html").read_text()
    assert calls["transcribe"] == 1

    again = ingest(source, destination, execution=more)
    assert (again.new, again.rendered, again.already_done) == (0, 0, 1)


def test_a_failed_rendering_is_quarantined_until_it_succeeds(source: Path, destination: Path) -> None:
    ingest(source, destination, execution=ExecutionOptions(device="cpu", formats=("txt",)))
    transcript, more = destination / "jfk.flac" / "transcript.json", ExecutionOptions(formats=("txt", "srt"))
    content = transcript.read_bytes()
    transcript.unlink()
    report = ingest(source, destination, execution=more)
    assert report.failures_by_code == {"TRANSCRIPT_MISSING": 1}
    store = open_store(str(destination))
    assert [name.status for name in list_receipts(store)] == ["done", "quarantined"]
    transcript.write_bytes(content)
    assert ingest(source, destination, execution=more).rendered == 1
    assert [name.status for name in list_receipts(store)] == ["done"]


def test_rendering_again_keeps_the_speaker_names_that_people_gave(source: Path, destination: Path) -> None:
    ingest(source, destination, execution=ExecutionOptions(device="cpu", formats=("txt",)))
    path = destination / "jfk.flac" / "transcript.json"
    transcript = Transcript.model_validate_json(path.read_text())
    spoken = [segment.model_copy(update={"speaker": "SPEAKER_00"}) for segment in transcript.segments]
    transcript = transcript.model_copy(update={"segments": spoken, "speakers": ["SPEAKER_00"]})
    path.write_text(transcript.model_dump_json())
    speaker_names.write(open_store(str(destination)), "jfk.flac", transcript, {"SPEAKER_00": "Kennedy"})
    report = ingest(source, destination, execution=ExecutionOptions(device="cpu", formats=("txt", "srt")))
    assert report.rendered == 1
    assert "Kennedy" in (destination / "jfk.flac" / "transcript.srt").read_text()


def test_only_changed_options_and_changed_files_are_processed_again(
    source: Path, destination: Path, calls: Counter[str]
) -> None:
    shutil.copy(recording_path("hard/opus.opus"), source / "other.opus")
    assert ingest(source, destination).done == 2
    shutil.copy(recording_path("en/one-two-three.flac"), source / "jfk.flac")
    assert (ingest(source, destination).done, calls["decode"]) == (1, 3)
    greedy = TranscriptionOptions(model="tiny.en", diarization="off", beam_size=1)
    assert (ingest(source, destination, options=greedy).done, calls["decode"]) == (2, 5)
    # Back to the first options: their files were overwritten, so they are created again.
    assert (ingest(source, destination).done, calls["decode"]) == (2, 7)


def test_nothing_remains_in_scratch_or_in_the_work_area(source: Path, destination: Path) -> None:
    (source / "broken.wav").write_text("not audio")
    ingest(source, destination)
    assert list(get_settings().scratch.dir.iterdir()) == []
    assert [info.key for info in open_store(str(destination)).list(".work/")] == []


def test_an_upload_that_fails_twice_succeeds_without_repeating_earlier_stages(
    source: Path, destination: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = failing_uploads(monkeypatch, "transcript.json", 2)
    report = ingest(source, destination)
    assert len(failed) == 2
    assert (report.done, report.failed) == (1, [])
    assert calls == {"decode": 1, "transcribe": 1}


def test_an_unreachable_recording_gets_no_receipt_and_the_next_run_resumes_from_its_checkpoint(
    source: Path, destination: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as while_down:
        failing_uploads(while_down, "transcript.json", 1000)
        report = ingest(source, destination)
    assert (report.done, report.deferred, report.complete) == (0, 1, False)
    assert report.failures_by_code == {"STORAGE_UNAVAILABLE": 1}
    assert list(list_receipts(open_store(str(destination)))) == []

    assert ingest(source, destination).done == 1
    assert calls == {"decode": 1, "transcribe": 1}


def test_a_corrupt_file_is_tried_once_and_does_not_stop_the_others(
    source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stenopool.pipeline.stages import prepare

    decoded: Counter[str] = Counter()
    shutil.copy(recording_path("hard/truncated-no-moov.m4a"), source / "cut.m4a")
    sizes = {(source / name).stat().st_size: name for name in ("cut.m4a", "jfk.flac")}
    _count(monkeypatch, prepare, "prepare_audio", lambda path, *_: sizes[path.stat().st_size], decoded)
    report = ingest(source, destination)
    assert report.done == 1
    assert report.failures_by_code == {"INPUT_CORRUPT": 1}
    assert decoded == {"cut.m4a": 1, "jfk.flac": 1}

    again = ingest(source, destination)
    assert (again.new, again.in_quarantine) == (0, 1)
    assert decoded["cut.m4a"] == 1


def test_a_quarantined_recording_is_retried_on_request(source: Path, destination: Path) -> None:
    (source / "late.wav").write_text("not audio")
    ingest(source, destination)
    # A recording deleted in the meantime is reported, and does not stop the run.
    selection = Selection(only=("gone.wav", "late.wav"))
    report = ingest(source, destination, selection=selection, retry=[ErrorCode.NOT_AUDIO])
    assert (report.new, report.in_quarantine, report.deferred, report.complete) == (1, 0, 0, True)
    assert report.failures_by_code == {"NOT_AUDIO": 1, "OBJECT_NOT_FOUND": 1}
    store = open_store(str(destination))
    [receipt] = [read(store, name) for name in list_receipts(store) if name.status == "quarantined"]
    assert receipt
    assert receipt.attempts == 2


def test_a_run_whose_named_keys_are_all_excluded_writes_nothing(source: Path) -> None:
    """Otherwise a webhook for every written object would start runs for the previous run's output, forever."""
    destination = source / "out"
    ingest(source, destination, selection=Selection(only=("jfk.flac",)))
    written = [f"out/{path.relative_to(destination)}" for path in destination.rglob("*") if path.is_file()]
    assert len(written) > 8
    before = {path: path.stat().st_mtime_ns for path in destination.rglob("*")}
    report = ingest(source, destination, selection=Selection(only=(*written, "notes.txt", "")))
    assert (report.new, report.done, report.failed, report.complete) == (0, 0, [], True)
    assert {path: path.stat().st_mtime_ns for path in destination.rglob("*")} == before


def test_each_split_channel_becomes_a_speaker(tmp_path: Path, destination: Path) -> None:
    source = tmp_path / "calls"
    source.mkdir()
    shutil.copy(recording_path("diar/stereo-two-channels.flac"), source / "call.flac")
    options = TranscriptionOptions(model="tiny.en", channels="split", channel_names=("left", "right"))
    assert ingest(source, destination, options=options).done == 1
    transcript = Transcript.model_validate_json((destination / "call.flac" / "transcript.json").read_bytes())
    spoken = {
        name: " ".join(s.text for s in transcript.segments if s.speaker == name).lower() for name in ("left", "right")
    }
    assert "wizard" in spoken["left"]
    assert "horizon" in spoken["right"]
    assert {turn.speaker for turn in transcript.turns} == {"left", "right"}


def test_each_sentence_of_odd_channels_is_transcribed_once(tmp_path: Path, destination: Path) -> None:
    """In one run: a mono file, a file with two equal channels, and a call with crosstalk."""
    source = tmp_path / "calls"
    source.mkdir()
    first, rate = soundfile.read(recording_path("en/libri-1688-142285-0001.flac"))
    second, _ = soundfile.read(recording_path("en/libri-2033-164914-0001.flac"))
    agent, customer = np.pad(first, (0, len(second))), np.pad(second, (len(first), 0))
    mono = agent + customer
    soundfile.write(source / "copies.wav", np.stack([mono, -np.roll(mono, 80)], axis=1), rate)
    soundfile.write(source / "mono.wav", mono, rate)
    bled = np.stack([agent + 0.1 * np.roll(customer, 480), customer + 0.1 * np.roll(agent, 480)], axis=1)
    soundfile.write(source / "bled.wav", bled, rate)
    options = TranscriptionOptions(model="tiny.en", channels="split", channel_names=("agent", "customer"))
    assert ingest(source, destination, options=options).done == 3
    for name, flag in (("copies", DUPLICATE_CHANNELS), ("mono", SINGLE_CHANNEL), ("bled", CHANNEL_BLEED)):
        content = (destination / f"{name}.wav" / "transcript.json").read_bytes()
        transcript = Transcript.model_validate_json(content)
        assert transcript.flags == [flag]
        assert [transcript.text.count(word) for word in ("Margaret", "awake")] == [1, 1], transcript.text
        if name == "bled":
            assert [s.speaker for s in transcript.segments] == sorted(s.speaker for s in transcript.segments)
            assert {turn.speaker for turn in transcript.turns} == {"agent", "customer"}
        else:
            assert {s.speaker for s in transcript.segments} == {"SPEAKER_00", "SPEAKER_01"}


def test_each_run_writes_one_summary_and_descriptive_run_names(source: Path, destination: Path) -> None:
    from prefect import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter

    ingest(source, destination)

    async def look() -> tuple[dict[str, str], Counter[UUID | None], set[str]]:
        async with get_client() as client:
            runs = await client.read_flow_runs(
                flow_run_filter=FlowRunFilter(), sort="EXPECTED_START_TIME_DESC", limit=2
            )
            ids = [run.id for run in runs]
            artifacts = await client.read_artifacts(
                artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=ids))
            )
            summaries = Counter(one.flow_run_id for one in artifacts if one.type == "markdown")
            tags = {tag for run in runs for tag in run.tags}
            return (
                {run.name.split()[0 if "ingest" in run.name else 1]: run.name for run in runs},
                summaries,
                tags,
            )

    run_names, artifacts, tags = asyncio.run(look())
    assert set(run_names) == {"ingest", "shard"}
    assert run_names["ingest"] == f"ingest {source} → 1 shard"
    assert len(artifacts) == 2
    assert set(artifacts.values()) == {1}
    assert tags >= {"engine:faster-whisper", "model:tiny.en"}
