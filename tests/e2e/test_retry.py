"""`stenopool retry`: each recording with its original options; a deleted recording does not stop the others."""

import json
import shutil
from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, Failure
from stenopool.options import TranscriptionOptions
from stenopool.pipeline.receipts import Receipt, list_receipts, write
from stenopool.storage import open_store
from tests.e2e.conftest import Program
from tests.support.speech import needs_speech, recording_path

pytestmark = [needs_speech, pytest.mark.timeout(600)]

FAST = ("--diarization", "off", "--max-duration", "1")  # too short for all of them: quarantined


def test_each_recording_is_retried_with_its_options_and_deleted_ones_are_skipped(
    stenopool: Program, tmp_path: Path
) -> None:
    folder, results = tmp_path / "recordings", tmp_path / "transcripts"
    folder.mkdir()
    for name in ("first.flac", "second.flac", "deleted.flac"):
        shutil.copy(recording_path("en/jfk.flac"), folder / name)
    one, other = ("--model", "tiny.en"), ("--model", "tiny.en", "--beam-size", "1")
    stenopool.json("run", folder, results, *FAST, *one, "--include", "first.flac", exit_status=1)
    stenopool.json("run", folder, results, *FAST, *other, "--exclude", "first.flac", exit_status=1)
    (folder / "deleted.flac").unlink()
    # One whose model is no longer installed.
    shutil.copy(recording_path("en/jfk.flac"), folder / "a.wav")
    options = TranscriptionOptions(model=str(tmp_path / "no-model")).model_dump(mode="json")
    failure = Failure(code=ErrorCode.TOO_LONG, message="Too long.", remedy="Split it.")
    refused = Receipt(key="a.wav", fingerprint="0" * 32, status="quarantined", failure=failure, options=options)
    write(open_store(str(results)), refused)

    done = stenopool("retry", results, "--json")
    assert done.returncode == 1, done.stderr[-3000:]
    assert "1 recordings were not retried. MODEL_MISSING: " in done.stderr
    retried = json.loads(done.stdout)
    assert (retried["new"], retried["done"]) == (2, 2)
    assert retried["failed"] == []
    assert "deleted.flac no longer exists in its source: removed from quarantine." in done.stderr
    made = {}
    for name in ("first.flac", "second.flac"):
        transcript = json.loads((results / name / "transcript.json").read_bytes())
        options = transcript["provenance"]["options"]
        made[name] = (options["model"], options["beam_size"])
    assert made == {"first.flac": ("tiny.en", 5), "second.flac": ("tiny.en", 1)}
    left = [name.key for name in list_receipts(open_store(str(results))) if name.status == "quarantined"]
    assert left == ["a.wav"]
