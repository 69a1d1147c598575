"""A real run observed from outside: its log as JSON, its stages as spans."""

import json
import shutil
from pathlib import Path

from tests.e2e.conftest import Program
from tests.support.otlp import by_grpc
from tests.support.speech import needs_speech, recording_path

pytestmark = needs_speech

FORGED = "a\nb.flac"


def test_a_run_logs_json_and_sends_its_stages_as_spans(stenopool: Program, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(recording_path("en/jfk.flac"), source / FORGED)
    (source / "empty.wav").touch()
    with by_grpc() as received:
        stenopool.extra = {
            "STENOPOOL_LOG__FORMAT": "json",
            "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
        run = stenopool(
            "run", source, tmp_path / "out", "--model", "tiny.en", "--diarization", "off", "--formats", "txt"
        )
    assert run.returncode == 1, run.stderr
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    (done,) = [line for line in lines if line["message"].endswith(": done")]
    assert done["recording"] == FORGED
    assert done["message"] == "a\\x0ab.flac: done"
    assert (done["stage"], done["shard"]) == ("receipt", 0)
    (failed,) = [line for line in lines if line["level"] == "WARNING"]
    assert (failed["recording"], failed["stage"]) == ("empty.wav", "fetch") or failed["stage"] == "normalize"
    assert {line["batch"] for line in (done, failed)} == {done["batch"]}
    assert len(done["run"]) == 36

    stages = {"fetch", "normalize", "store", "transcribe", "upload", "receipt"}
    assert stages <= {span.name for span in received.spans}
    (span,) = received.named("transcribe")
    attributes = {item.key: item.value for item in span.attributes}
    assert attributes["stenopool.batch"].string_value == done["batch"]
    assert attributes["stenopool.recordings"].int_value == 2  # the empty one is not yet known to be bad
    # Spans of Prefect's runs link them.
    assert len({span.trace_id for span in received.spans if span.name in stages}) == 1
