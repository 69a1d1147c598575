"""Files are uploaded by one run; what was made with other options has no receipt from then on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, RecordingError
from stenopool.options import FORMATS, ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.receipts import Receipt, list_receipts, output_key, write
from stenopool.pipeline.recordings import Recording
from stenopool.pipeline.run import Run
from stenopool.pipeline.shards import WorkItem
from stenopool.pipeline.stages.publish import receipt, upload
from stenopool.runtime.scratch import Scratch
from stenopool.speech.transcript import Provenance, Transcript
from stenopool.storage.local import LocalStore

PIECE = WorkItem(
    recording=Recording(uri="file:///a.wav", key="a.wav", size=1, etag="e", modified=0.0),
    fingerprint="0" * 32,
    seconds=1.0,
)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A run that has one transcript, and no file yet."""
    with Scratch() as scratch:
        source, destination = LocalStore(tmp_path / "source"), LocalStore(tmp_path / "out")
        run = Run(source, destination, TranscriptionOptions(), ExecutionOptions(formats=("json", "txt")), scratch)
        run.work(PIECE).keep("assign", Transcript())
        run.durations[PIECE.fingerprint] = 1.0
        yield run


def done(fingerprint: str) -> Receipt:
    return Receipt(key="a.wav", fingerprint=fingerprint, status="done", formats=("json",))


def test_a_transcript_becomes_files_and_then_a_receipt(run: Run) -> None:
    upload(run, [PIECE])
    assert Transcript.model_validate_json(run.destination.get_bytes(output_key("a.wav", "json"))) == Transcript()
    assert not list(list_receipts(run.destination))
    receipt(run, [PIECE])
    assert [name.fingerprint for name in list_receipts(run.destination)] == [PIECE.fingerprint]


def test_receipts_of_what_is_overwritten_go_before_the_first_file(run: Run) -> None:
    failure = RecordingError(ErrorCode.ENGINE_FAILED, "No.").failure()
    write(run.destination, done("1" * 32))
    write(run.destination, Receipt(key="a.wav", fingerprint="2" * 32, status="quarantined", failure=failure))
    upload(run, [PIECE.model_copy(update={"superseded": ("1" * 32, "2" * 32)})])
    assert not list(list_receipts(run.destination))


def test_the_receipt_of_a_run_with_other_options_that_finished_since_goes_too(run: Run) -> None:
    """It was not there when this run was planned; the files say whose they are."""
    provenance = Provenance.model_construct(fingerprint="3" * 32)
    theirs = Transcript(text='"fingerprint": "4"').model_copy(update={"provenance": provenance})
    run.destination.put_bytes(output_key("a.wav", "json"), theirs.model_dump_json().encode())
    write(run.destination, done("3" * 32).model_copy(update={"formats": FORMATS}))
    write(run.destination, done("3" * 32))
    others = done("3" * 32).model_copy(update={"key": "b.wav"})
    write(run.destination, others)
    upload(run, [PIECE])
    assert [name.key for name in list_receipts(run.destination)] == ["b.wav"]


def test_what_another_run_has_finished_meanwhile_is_not_overwritten(run: Run) -> None:
    run.destination.put_bytes(output_key("a.wav", "json"), b"theirs")
    write(run.destination, done(PIECE.fingerprint))
    upload(run, [PIECE])
    assert run.destination.get_bytes(output_key("a.wav", "json")) == b"theirs"
    assert not run.destination.exists(output_key("a.wav", "txt"))
    assert run.finished_elsewhere == {PIECE.fingerprint}
    receipt(run, [PIECE])
    assert [name.formats for name in list_receipts(run.destination)] == [frozenset({"json"})]
