"""Metrics of a whole installation: real workers, one of them killed, and a real Prometheus."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from stenopool.pipeline import receipts
from stenopool.pipeline.receipts import BATCHES
from stenopool.pipeline.report import BatchReport
from stenopool.runtime.processes import find_marked
from stenopool.storage import ObjectStore, open_store
from tests.e2e.test_deployments import children, deploy, over, started_by_api, until
from tests.support.exporter import Exporter, counted, said
from tests.support.prefect_server import PrefectServer
from tests.support.prometheus import Prometheus, lint, needs_prometheus
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech, recording_path, recordings
from tests.support.worker import ProcessWorker

pytestmark = [needs_speech, needs_prometheus, pytest.mark.slow]

FAILING = ("hard/empty.wav", "hard/random.ogg", "hard/video-no-audio.mp4")


class Installation:
    """Workers for both pools, an exporter and Prometheus, with a new destination on S3."""

    def __init__(self, server: PrefectServer, seaweedfs: SeaweedFS, bucket: str, folder: Path) -> None:
        cache = os.environ.get("STENOPOOL_MODELS__CACHE", str(Path.home() / ".cache" / "stenopool" / "models"))
        self._environment = {
            **seaweedfs.environment,
            "STENOPOOL_MODELS__CACHE": cache,
            "STENOPOOL_BATCH__BATCH_RECORDINGS": "2",
            "STENOPOOL_DISPATCH__POLL": "0.5",
        }
        self.server = server
        self.source, self.destination = f"s3://{bucket}/calls", f"s3://{bucket}/transcripts"
        self.exporter = Exporter(folder, self.destination, environment=seaweedfs.environment | server.environment)
        self.prometheus = Prometheus(folder, {"stenopool-exporter": self.exporter.target})

    def worker(self, pool: str) -> ProcessWorker:
        return ProcessWorker(self.server, f"stenopool-{pool}", self._environment)

    @property
    def store(self) -> ObjectStore:
        return open_store(self.destination)

    def done(self) -> list[receipts.ReceiptName]:
        return [name for name in receipts.list_receipts(self.store) if name.status == "done"]

    def reports(self) -> list[BatchReport]:
        keys = sorted(info.key for info in self.store.list(BATCHES) if info.key.endswith("/report.json"))
        return [BatchReport.model_validate_json(self.store.get_bytes(key)) for key in keys]


@pytest.fixture
def installation(
    prefect_server: PrefectServer, seaweedfs: SeaweedFS, bucket: str, tmp_path: Path
) -> Iterator[Installation]:
    deploy(prefect_server)
    made = Installation(prefect_server, seaweedfs, bucket, tmp_path)
    source = open_store(made.source)
    for file in (*(item["file"] for item in recordings("en_short")[:10]), *FAILING):
        source.put_file(file, recording_path(file))
    with ExitStack() as stack:
        for program in (made.exporter, made.prometheus):
            stack.callback(program.stop)
            program.start()
        yield made


def test_counters_equal_the_reports_after_a_worker_is_killed(installation: Installation) -> None:
    with ExitStack() as stack, installation.server.client() as client:
        cpu, gpu = installation.worker("cpu"), installation.worker("gpu")
        for worker in (cpu, gpu):
            stack.callback(worker.stop)
            worker.start()
        parent = started_by_api(
            installation.server, installation.source, installation.destination, key=f"first {installation.destination}"
        )
        until(lambda: len(installation.done()) >= 2, "two transcripts")
        sigkill(gpu)
        # The automation for silent runs does this two minutes later.
        (child,) = children(client, [parent])
        crash(client, child.id)
        report = until(lambda: next(iter(installation.reports()), None), "the first report")
        assert until(lambda: over(client, parent), "the end of ingest").state_name == "Completed"
        assert report.failures_by_code["RUN_LOST"] == report.deferred > 0
        assert report.done == len(installation.done())
        assert counted(installation.exporter, installation.prometheus) == said([report])

        again = installation.worker("gpu")
        stack.callback(again.stop)
        again.start()
        second = started_by_api(
            installation.server, installation.source, installation.destination, key=f"second {installation.destination}"
        )
        until(lambda: over(client, second), "the end of the second ingest")

    reports = installation.reports()
    assert len(reports) == 2
    assert reports[1].deferred == 0
    figures = counted(installation.exporter, installation.prometheus)
    assert figures == said(reports)
    assert figures["done"] == len(installation.done()) == 10
    query = installation.prometheus.query
    assert query("stenopool_batches_total") == {("complete",): 1, ("incomplete",): 1, ("lost",): 0}
    assert query("stenopool_batches_running") == {(): 0}
    deepest = query('max_over_time(stenopool_queue_depth{queue="gpu/interactive",state="running"}[10m])')
    assert list(deepest.values()) == [1]
    assert query('stenopool_worker_last_seen_timestamp_seconds{pool="gpu"} > 0')
    assert lint(installation.exporter.get("/metrics").text) == ""


def sigkill(worker: ProcessWorker) -> None:
    """The machine is gone: the worker and its run end at once."""
    for process, _ in find_marked(worker._id):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def crash(client: Any, run: Any) -> None:
    from prefect.states import Crashed

    client.set_flow_run_state(run, Crashed(message="No heartbeat: its machine is gone."), force=True)
