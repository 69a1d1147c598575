"""``stenopool up`` and ``serve``: they start, keep their processes alive, and leave nothing behind."""

import os
import signal
import stat
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound

from stenopool.runtime.network import Address
from tests.e2e.conftest import Program
from tests.support.prefect_server import PrefectServer
from tests.support.processes import free_port
from tests.support.speech import needs_speech, recording_path, recordings
from tests.support.up import Up
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(900)


ONLY_FOR_SERVERS = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql://prefect:word@db/prefect"}


Start = Callable[..., Up]


FOREIGN = ("api", "flows", "workers", "prefect", "uvicorn", "yaml", "pydantic", "typer", "stenopool", "orchestration")


@pytest.fixture
def project(tmp_path: Path, stenopool: Program) -> Path:
    """A project folder in which the command is started: it has packages named like ours and like Prefect's."""
    stenopool.folder = tmp_path / "project"
    for name in FOREIGN:
        package = stenopool.folder / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"raise SystemExit('the foreign package {name} was imported')")
    return stenopool.folder


@pytest.fixture
def start(stenopool: Program, project: Path) -> Iterator[Start]:
    started: list[Up] = []

    def run(*arguments: str, environment: Mapping[str, str] | None = None) -> Up:
        started.append(Up(stenopool, *arguments, environment=environment))
        return started[-1]

    try:
        yield run
    finally:
        for up in started:
            up.remove()


def test_up_starts_restarts_its_workers_and_stops_without_a_trace(start: Start, stenopool: Program) -> None:
    host = "::1" if has_ipv6() else "127.0.0.1"
    page, api = (Address(host, free_port()).url for _ in range(2))
    port, api_port = (str(httpx.URL(url).port) for url in (page, api))
    url = f"{page}/api"
    up = start("up", "--host", host, "--port", port, "--api-port", api_port)
    home = stenopool.home
    assert up.rows == {
        "Web page": api,
        "API": f"{api}/v1",
        "Prefect": page,
        "Prefect API": url,
        "Password": str(home / ".prefect" / "stenopool-auth"),
        "Recordings": str(home / "stenopool" / "recordings"),
        "Transcripts": str(home / "stenopool" / "transcripts"),
        "Workers": "cpu, gpu",
        "Logs": str(home / ".prefect" / "stenopool-logs"),
    }
    assert httpx.get(f"{url}/health", timeout=60).json() is True
    password = kept_password(stenopool)
    changed_nothing(url)
    assert not [line for line in command_lines(up) if password in line]
    assert password not in up.log.read_text(), "stdout is not a terminal"
    assert httpx.get(f"{api}/health/ready", timeout=30).json()["status"] == "ok"
    assert (
        httpx.get(f"{api}/v1/queue", timeout=60).json()["entries"] == []
    )  # no key, because it serves only this machine
    assert (stenopool.home / "stenopool" / "recordings").is_dir()
    assert stat.S_IMODE((stenopool.home / ".prefect" / "stenopool.db").stat().st_mode) == 0o600
    with SyncPrefectClient(url, auth_string=password) as client:
        assert online(client, "cpu", since=datetime.min.replace(tzinfo=UTC))
        assert online(client, "gpu", since=datetime.min.replace(tzinfo=UTC))
        names = {deployment.name for deployment in client.read_deployments()}
        assert names >= {"interactive", "batch", "cpu", "gpu"}

        (worker,) = up.children("--pool stenopool-gpu")
        killed = datetime.now(UTC)
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: online(client, "gpu", since=killed), "a new worker", seconds=120)
        (another,) = up.children("--pool stenopool-gpu")
        assert another != worker

    refused = stenopool("up", "--host", host, "--port", port)
    assert refused.returncode == 2
    assert f"PREFECT_API_URL={url}" in refused.stderr

    up.process.terminate()
    assert up.process.wait(60) == 0
    assert up.children() == []
    assert up.rest() == "", "the block is its only output on stdout"
    logs = home / ".prefect" / "stenopool-logs"
    restarted, stopping, stopped = up.log.read_text().splitlines()  # nothing from its programs
    assert restarted == f"The worker of gpu was ended by SIGKILL; restarting it in 1 s. Its log: {logs}/worker-gpu.log"
    assert (stopping[:9], stopped) == ("Stopping:", "Stopped.")
    names = {"prefect-server.log", "deploy.log", "worker-cpu.log", "worker-gpu.log", "api.log"}
    assert {path.name for path in logs.iterdir()} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in logs.iterdir()} == {0o600}


def test_up_uses_an_existing_server_and_a_killed_up_ends_its_workers(
    start: Start, prefect_server: PrefectServer
) -> None:
    since = datetime.now(UTC)
    up = start("up", "--no-api", "--pools", "cpu", environment=prefect_server.environment | ONLY_FOR_SERVERS)
    assert (up.rows["Prefect API"], up.rows["Workers"]) == (prefect_server.url, "cpu")
    assert not {"API", "Password"} & up.rows.keys()
    assert up.children("prefect_server") == []
    with prefect_server.client() as client:
        assert online(client, "cpu", since=since)
    assert prefect_server.auth.encode() not in up.log.read_bytes()
    # The server's secrets do not reach the processes that flow runs come from.
    (worker,) = up.children("worker start")
    assert b"postgresql" not in Path(f"/proc/{worker}/environ").read_bytes()

    up.process.kill()
    wait_until(lambda: not up.children(), "no process is left", seconds=120)
    assert prefect_server.answers()


@needs_speech
@pytest.mark.slow
def test_serve_alone_transcribes_and_resumes_after_a_stop(start: Start) -> None:
    audio = recording_path(recordings("en_short")[0]["file"]).read_bytes()
    port = str(free_port())
    environment = {"STENOPOOL_API__MODEL": "tiny.en"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        first = start("serve", "--no-auth", "--port", port, environment=environment)
        client.post("/v1/queue/pause").raise_for_status()
        form = {"options": '{"diarization": "off"}'}
        sent = client.post("/v1/recordings", files={"file": ("a.flac", audio)}, data=form).raise_for_status()
        first.process.terminate()
        assert first.process.wait(60) == 0
        assert first.children() == []

        start("serve", "--no-auth", "--port", port, environment=environment)
        queue = client.get("/v1/queue").json()
        assert (queue["paused"], [one["recording"] for one in queue["entries"]]) == (True, [sent.json()["id"]])
        client.post("/v1/queue/resume").raise_for_status()
        address = sent.headers["Location"]
        wait_until(lambda: client.get(address).json()["state"] == "completed", "the recording", seconds=240)
        assert len(client.get(f"{address}/transcript", params={"format": "txt"}).text.split()) > 3


def kept_password(stenopool: Program) -> str:
    """The contents of the private file, readable only by the user who started it."""
    file = stenopool.home / ".prefect" / "stenopool-auth"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return file.read_text().strip()


def changed_nothing(url: str) -> None:
    """A client without the password, such as another user of this machine or any web page, gets 401 or 403 for every
    request.
    """
    for sent in ({}, {"Origin": "https://evil.example"}, {"Host": "evil.example:4200"}, {"Content-Type": "text/plain"}):
        answer = httpx.post(f"{url}/flows/", content=b'{"name": "evil"}', headers=sent)
        assert answer.status_code == (401 if not {"Origin", "Host"} & sent.keys() else 403)
    assert httpx.get(f"{url}/admin/settings").status_code == 401


def command_lines(up: Up) -> list[str]:
    """The command lines of all started processes, as `ps` shows them."""
    return [Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in [up.process.pid, *up.children()]]


def has_ipv6() -> bool:
    """Whether this machine has IPv6 on loopback."""
    try:
        Address("::1", 0).listen().close()
    except OSError:
        return False
    return True


def online(client: SyncPrefectClient, pool: str, since: datetime) -> bool:
    """Whether a worker of the pool is online and has sent a heartbeat since."""
    try:
        workers = client.read_workers_for_work_pool(f"stenopool-{pool}")
    except ObjectNotFound:
        return False
    return any(one.status == "ONLINE" and one.last_heartbeat_time > since for one in workers)
