"""One run uploads the files; receipts of other options for the same files are deleted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, RecordingError
from stenopool.options import FORMATS, ExecutionOptions
from stenopool.pipeline.checkpoints import ASSIGNED
from stenopool.pipeline.context import Job, RunContext
from stenopool.pipeline.receipts import Receipt, list_receipts, output_key, write
from stenopool.pipeline.stages.publish import upload, write_receipt
from stenopool.runtime.scratch import Scratch
from stenopool.speech.transcript import Provenance, Transcript
from tests.support.runs import run_context, work_item

KEY = "0.wav"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunContext]:
    with Scratch() as scratch:
        yield run_context(tmp_path, scratch, execution=ExecutionOptions(formats=("json", "txt")), batch="this one")


@pytest.fixture
def job(run: RunContext) -> Job:
    """A job whose transcript exists, and no file yet."""
    job = Job(run, work_item("0"))
    job.work.keep(ASSIGNED, Transcript())
    job.known_duration = 1.0
    return job


def done(fingerprint: str, batch: str | None = None) -> Receipt:
    return Receipt(key=KEY, fingerprint=fingerprint, status="done", formats=("json",), batch=batch)


def test_a_transcript_becomes_files_and_then_a_receipt(run: RunContext, job: Job) -> None:
    upload(run, job)
    assert Transcript.model_validate_json(run.destination.get_bytes(output_key(KEY, "json"))) == Transcript()
    assert not list(list_receipts(run.destination))
    write_receipt(run, job)
    assert [name.fingerprint for name in list_receipts(run.destination)] == [job.fingerprint]
    assert job.outcome is not None
    assert job.outcome.status == "done"


def test_receipts_of_overwritten_files_are_deleted_before_the_first_upload(run: RunContext, job: Job) -> None:
    failure = RecordingError(ErrorCode.ENGINE_FAILED, "No.").failure()
    write(run.destination, done("1" * 32))
    write(run.destination, Receipt(key=KEY, fingerprint="2" * 32, status="quarantined", failure=failure))
    job.item = job.item.model_copy(update={"superseded": ("1" * 32, "2" * 32)})
    upload(run, job)
    assert not list(list_receipts(run.destination))


def test_the_receipt_of_a_concurrent_run_with_other_options_is_deleted_too(run: RunContext, job: Job) -> None:
    """It did not exist when this run was planned; the files name their fingerprint."""
    provenance = Provenance.model_construct(fingerprint="3" * 32)
    theirs = Transcript(text='"fingerprint": "4"').model_copy(update={"provenance": provenance})
    run.destination.put_bytes(output_key(KEY, "json"), theirs.model_dump_json().encode())
    write(run.destination, done("3" * 32).model_copy(update={"formats": FORMATS}))
    write(run.destination, done("3" * 32))
    write(run.destination, done("3" * 32).model_copy(update={"key": "b.wav"}))
    upload(run, job)
    assert [name.key for name in list_receipts(run.destination)] == ["b.wav"]


@pytest.mark.parametrize(("batch", "status"), [("this one", "done"), ("another", "skipped"), (None, "skipped")])
def test_files_that_another_run_finished_are_not_overwritten(
    run: RunContext, job: Job, batch: str | None, status: str
) -> None:
    run.destination.put_bytes(output_key(KEY, "json"), b"theirs")
    write(run.destination, done(job.fingerprint, batch))
    upload(run, job)
    assert run.destination.get_bytes(output_key(KEY, "json")) == b"theirs"
    assert not run.destination.exists(output_key(KEY, "txt"))
    assert job.outcome is not None
    assert job.outcome.status == status


@pytest.mark.parametrize(("batch", "status"), [("this one", "done"), ("another", "skipped")])
def test_an_existing_receipt_counts_for_the_batch_that_wrote_it(
    run: RunContext, job: Job, batch: str, status: str
) -> None:
    same = Receipt(
        key=KEY, fingerprint=job.fingerprint, status="done", formats=run.execution.formats, batch=batch, duration=1.0
    )
    write(run.destination, same)
    write_receipt(run, job)
    assert job.outcome is not None
    assert job.outcome.status == status
    assert [name.formats for name in list_receipts(run.destination)] == [frozenset({"json", "txt"})]
