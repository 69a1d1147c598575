"""A real Prometheus scrapes during real batches: its counts equal the reports, with and without kills."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from math import fsum
from pathlib import Path

import pytest

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.receipts import BATCHES
from stenopool.pipeline.report import BatchReport
from stenopool.storage import open_store
from stenopool.storage.base import ObjectStore
from tests.support.exporter import Exporter, counted, said
from tests.support.prometheus import Prometheus, lint, needs_prometheus
from tests.support.speech import needs_speech, recording_path, recordings
from tests.support.waiting import wait_until

pytestmark = [needs_speech, needs_prometheus]

FAILING = ("hard/empty.wav", "hard/random.ogg", "hard/video-no-audio.mp4")
SMALL_SHARDS = {"STENOPOOL_BATCH__SHARD_RECORDINGS": "4", "STENOPOOL_BATCH__BATCH_RECORDINGS": "2"}
PRICES = {"STENOPOOL_PRICES__GPU_HOUR": "3.5", "STENOPOOL_PRICES__DAILY_BUDGET": "50"}


class Installation:
    """A source, a destination, an exporter that watches it, and a Prometheus that scrapes the exporter."""

    def __init__(self, folder: Path, prefect: str) -> None:
        self.source, self.destination = folder / "source", folder / "destination"
        self.source.mkdir()
        self.environment = {"PREFECT_API_URL": prefect, **PRICES}
        self.exporter = Exporter(folder, str(self.destination), environment=self.environment)
        self.prometheus = Prometheus(folder, {"stenopool-exporter": self.exporter.target})

    @property
    def store(self) -> ObjectStore:
        return open_store(str(self.destination))

    def add(self, *files: str) -> None:
        for file in files:
            shutil.copy(recording_path(file), self.source / Path(file).name)

    def reports(self) -> list[BatchReport]:
        keys = sorted(info.key for info in self.store.list(BATCHES) if info.key.endswith("/report.json"))
        return [BatchReport.model_validate_json(self.store.get_bytes(key)) for key in keys]


@pytest.fixture
def installation(prefect_api: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    from prefect.settings import get_current_settings

    for name, value in (SMALL_SHARDS | PRICES).items():
        monkeypatch.setenv(name, value)
    made = Installation(tmp_path, str(get_current_settings().api.url))
    try:
        made.exporter.start()
        made.prometheus.start()
        made.prometheus.scraped()  # an increase needs a first sample, and Prometheus takes seconds to find its targets
        yield made
    finally:
        made.prometheus.stop()
        made.exporter.stop()


def ingest(installation: Installation) -> BatchReport:
    from stenopool.orchestration import entrypoints

    flow = entrypoints.load("ingest")

    options = TranscriptionOptions(model="tiny.en", diarization="off")
    execution = ExecutionOptions(device="cpu", formats=("json", "txt"))
    return asyncio.run(
        flow(str(installation.source), str(installation.destination), options=options, execution=execution)
    )


def test_prometheus_counts_equal_the_reports_also_after_a_kill(installation: Installation) -> None:
    short = [item["file"] for item in recordings("en_short")[:9]]
    installation.add(*short[:3], *FAILING)
    report = ingest(installation)
    assert (report.done, report.quarantined) == (3, 3)
    assert counted(installation.exporter, installation.prometheus) == said([report])
    query = installation.prometheus.query
    assert query("stenopool_batches_total") == {("complete",): 1, ("incomplete",): 0, ("lost",): 0}
    assert query("stenopool_cost_dollars_total")[()] == pytest.approx(report.cost, abs=1e-4)
    assert query("sum(stenopool_gpu_seconds_total)")[()] == pytest.approx(sum(report.device_seconds.values()))
    assert query("stenopool_realtime_factor")["batch",] == report.realtime_factor
    # Two shards of up to four, batches of two.
    assert query('stenopool_stage_seconds_count{stage="transcribe"}')["transcribe",] >= 2
    assert query('stenopool_stage_seconds_sum{stage="receipt"}')["receipt",] > 0
    # By then the first series existed, at 0, so new values are increases.
    assert query('increase(stenopool_recordings_total{status="done"}[5m]) > 0')
    assert lint(installation.exporter.get("/metrics").text) == ""

    # A second batch, whose process is killed in the middle.
    installation.add(*short[3:])
    killed_after(installation, receipts_done=5)
    before = len(done(installation))
    assert 5 <= before < 9
    assert counted(installation.exporter, installation.prometheus)["done"] <= before

    # The exporter and Prometheus do not remember the batch: they query it. Here the exporter is killed too.
    installation.exporter.kill()
    declared_crashed(installation)
    last = ingest(installation)
    installation.exporter.start()
    wait_until(lambda: query("stenopool_batches_total").get(("lost",)) == 1, "the killed batch counted as lost")
    figures = counted(installation.exporter, installation.prometheus)
    lost, both = done_by_lost(installation), said([report, last])
    assert (last.done, last.already_done) == (6 - lost, 3 + lost)
    assert figures["done"] == both["done"] + lost == len(done(installation)) == 9
    # The next run finished the remaining work before it could be counted as remaining.
    assert figures["failures"] == both["failures"]
    assert figures["audio"]["faster-whisper", "tiny.en"] == pytest.approx(
        fsum(receipt.duration or 0 for receipt in done(installation)), rel=1e-12
    )
    assert lint(installation.exporter.get("/metrics").text) == ""


def killed_after(installation: Installation, receipts_done: int) -> None:
    """`stenopool run`, killed with SIGKILL once this many receipts exist."""
    command = [
        str(Path(sys.executable).with_name("stenopool")),
        "run",
        str(installation.source),
        str(installation.destination),
    ]
    command += ["--model", "tiny.en", "--diarization", "off", "--device", "cpu", "--formats", "json,txt"]
    process = subprocess.Popen(
        command,
        env={**os.environ, **installation.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(
        lambda: len(done(installation)) >= receipts_done,
        f"{receipts_done} receipts",
        seconds=240,
        every=0.002,
        process=process,
    )
    process.kill()
    process.communicate()


def done(installation: Installation) -> list[receipts.Receipt]:
    names = (name for name in receipts.list_receipts(installation.store) if name.status == "done")
    return [receipt for name in names if (receipt := receipts.read(installation.store, name))]


def declared_crashed(installation: Installation) -> None:
    """As a worker, or the automation for silent runs, does when a run's process is gone."""
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    (counts,) = [
        found for info in installation.store.list(receipts.METRICS)
        if (found := json.loads(installation.store.get_bytes(info.key)))["status"] == "running"
    ]  # fmt: skip
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(counts["flow_run"], Crashed(), force=True)


def done_by_lost(installation: Installation) -> int:
    """Recordings finished by the batch without a report, by their receipts."""
    reported = {report.batch for report in installation.reports()}
    (batch,) = {info.key.split("/")[1] for info in installation.store.list(BATCHES)} - reported
    return sum(receipt.batch == batch for receipt in done(installation))
