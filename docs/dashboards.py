"""Pictures of the dashboards with real figures: ``python -m docs.dashboards``.

Starts `stenopool up`, the exporter, the API and Debian's Prometheus with our rules, sends batches of real recordings
through the pools, kills one run in the middle, and draws every panel from what Prometheus scraped: about seven minutes.
With ``--keep FOLDER`` what Prometheus holds stays there, and ``--again FOLDER`` draws from it once more.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from docs.draw_dashboard import Source, Span, draw
from monitoring.render import FOLDER, RULES
from stenopool.orchestration.deploy.server import addresses
from tests.support.exporter import Exporter
from tests.support.postgres import Postgres
from tests.support.processes import Server, free_port
from tests.support.prometheus import Prometheus
from tests.support.redis import Redis

IMAGES = Path(__file__).parent / "images"
SPEECH = Path(os.environ.get("STENOPOOL_SPEECH") or Path(__file__).parents[2] / "shared" / "speech")
PORT = 24300
INTERFACE = f"http://127.0.0.1:{PORT}/api"
SETTINGS = {
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    # Small shards and batches, so that a few minutes of speech are several runs with several tasks.
    "STENOPOOL_BATCH__SHARD_SECONDS": "120",
    "STENOPOOL_BATCH__BATCH_SECONDS": "40",
    "STENOPOOL_PRICES__GPU_HOUR": "1",
    "STENOPOOL_PRICES__CPU_HOUR": "0.1",
    "STENOPOOL_PRICES__DAILY_BUDGET": "0.25",
}
_A_WHILE = timedelta(seconds=4)
NOTE = (
    "A real run on two busy cores without a GPU: short clips, files with faults, long recordings with diarization; one "
    "run killed. A figure of the last hour counts the time before the run too. Prices: $1 and $0.10 an hour."
)


@contextmanager
def everything(folder: Path) -> Iterator[None]:
    """`stenopool up` on PostgreSQL and Redis, until the block ends. On SQLite so much asked at once is too much."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "STENOPOOL_"))}
    postgres, redis = Postgres(), Redis(folder)
    with ExitStack() as stack:
        stack.callback(postgres.remove)
        postgres.start()
        stack.callback(redis.stop)
        redis.start()
        environment |= SETTINGS | addresses(database=postgres.url, redis=redis.url)
        environment["PREFECT_HOME"] = str(folder / "home")
        command = [str(Path(sys.executable).with_name("stenopool")), "up", "--no-api", "--port", str(PORT)]
        process = stack.enter_context(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        stack.callback(process.send_signal, signal.SIGTERM)
        assert process.stdout is not None
        print(process.stdout.readline())  # the ready line
        yield


def batches(client: SyncPrefectClient, transcripts: Path) -> None:
    """Three batches, one of whose runs is killed, and two that take up what is left."""

    def ingest(folder: str, **options: str) -> FlowRun:
        deployment = client.read_deployment_by_name("ingest/interactive")
        parameters = {"source": str(SPEECH / folder), "destination": str(transcripts), "options": options}
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters)

    first = ingest("en", diarization="off"), ingest("hard", diarization="off")
    kill_a_run(client)
    for run in (*first, ingest("long"), ingest("en", diarization="off"), ingest("hard", diarization="off")):
        finished(client, run)


def kill_a_run(client: SyncPrefectClient) -> None:
    """SIGKILL the process of the first `transcribe` that has been running for a while."""
    running: list[FlowRun] = []
    while not running:
        time.sleep(0.5)
        running = [run for run in client.read_flow_runs() if run.name.startswith("transcribe") and at_work(run)]
    mark = f"PREFECT__FLOW_RUN_ID={running[0].id}".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in environment.read_bytes():
                os.kill(int(environment.parent.name), signal.SIGKILL)
    print(running[0].name, "killed")


def at_work(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_running() and datetime.now(UTC) - run.state.timestamp > _A_WHILE


def finished(client: SyncPrefectClient, run: FlowRun) -> None:
    while not ((state := client.read_flow_run(run.id).state) and state.is_final()):
        time.sleep(1)
    print(run.name, state.name)


class Service(Server):
    """`stenopool serve`, over folders of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__("the API", folder / "stenopool.api.log")
        self.port = free_port()
        self.target = f"127.0.0.1:{self.port}"
        self._folder = folder

    def start(self) -> None:
        (self._folder / "uploads").mkdir()
        environment = os.environ | SETTINGS | {"PREFECT_API_URL": INTERFACE}
        environment["STENOPOOL_API__SOURCE"] = str(self._folder / "uploads")
        environment["STENOPOOL_API__DESTINATION"] = str(self._folder / "uploaded")
        command = [str(Path(sys.executable).with_name("stenopool")), "serve", "--no-auth", "--port", str(self.port)]
        self.spawn(command, lambda: self.get("/health/live") == 200, environment=environment)

    def get(self, path: str) -> int:
        """The answer's status; 0 if there is none."""
        try:
            return httpx.get(f"http://{self.target}{path}", timeout=30).status_code
        except httpx.TransportError:
            return 0

    def visit(self, over: threading.Event) -> None:
        """What people do with it: one uploads two recordings, others look, and one asks for what is not there."""
        for path in sorted((SPEECH / "en").glob("*.flac"))[:2]:
            httpx.post(f"http://{self.target}/v1/recordings", files={"file": path.open("rb")}, timeout=60)
        while not over.wait(2):
            for path in ("/v1/queue", "/v1/recordings", "/v1/recordings/none"):
                self.get(path)


def real_run(folder: Path) -> None:
    """The batches, with everything that watches them; what Prometheus saw stays in the folder."""
    transcripts, over = folder / "transcripts", threading.Event()
    with ExitStack() as stack:
        stack.enter_context(everything(folder))
        environment = SETTINGS | {"PREFECT_API_URL": INTERFACE}
        # As often as it looks by itself: more would hinder a Prefect server on SQLite.
        exporter = Exporter(folder, str(transcripts), environment=environment, interval=15)
        api = Service(folder)
        targets = {"stenopool-exporter": exporter.target, "stenopool-api": api.target}
        prometheus = Prometheus(folder, targets, RULES, every="5s")
        for server in (exporter, api, prometheus):
            stack.callback(server.stop)
            server.start()
        since = time.time()
        visitors = threading.Thread(target=api.visit, args=[over])
        visitors.start()
        stack.callback(visitors.join)
        stack.callback(over.set)
        batches(SyncPrefectClient(INTERFACE), transcripts)
        time.sleep(45)  # the rules' next look, and the curves' way down
        (folder / "span.json").write_text(json.dumps({"start": since, "end": time.time()}))


def pictures(folder: Path) -> None:
    """Every dashboard, from what the Prometheus of an earlier run left in the folder."""
    span = Span(**json.loads((folder / "span.json").read_text()))
    prometheus = Prometheus(folder, {})
    prometheus.start()
    try:
        for board in sorted((FOLDER / "grafana" / "dashboards").glob("*.json")):
            # Four times the exporter's interval, as Grafana has it.
            draw(board, Source(prometheus.url, span, "60s"), IMAGES / f"dashboard-{board.stem}.png", NOTE)
            print(board.stem)
    finally:
        prometheus.stop()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--keep", type=Path)
    options.add_argument("--again", type=Path)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.again or asked.keep or Path(temporary)
        if not asked.again:
            folder.mkdir(parents=True, exist_ok=True)
            real_run(folder)
        pictures(folder)


if __name__ == "__main__":
    main()
