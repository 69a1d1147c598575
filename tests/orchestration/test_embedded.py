"""The embedded Prefect server: several at the same time, and none left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from stenopool.orchestration import embedded
from stenopool.runtime.scratch import sweep
from tests.support.processes import without_prefect
from tests.support.waiting import wait_until

PROGRAM = """
import os, sys
from stenopool.orchestration import embedded
embedded.begin()
embedded.ready()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    client.create_flow_from_name("ours")
print(os.environ["PREFECT_API_URL"], embedded._server.pid, os.environ["PREFECT_API_AUTH_STRING"], flush=True)
sys.stdin.read()
"""


def start(home: Path, **more: str) -> subprocess.Popen[str]:
    environment = without_prefect() | {"HOME": str(home)} | more
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def database(server: psutil.Process) -> str:
    """The SQLite file that a server has open."""
    (found,) = {file.path for file in server.open_files() if file.path.endswith(".db")}
    return found


def test_two_servers_of_one_user_share_no_database_and_leave_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / ".prefect"
    both = [start(tmp_path) for _ in range(2)]
    try:
        addresses, pids, _ = zip(*(str(one.stdout and one.stdout.readline()).split() for one in both), strict=True)
        servers = [psutil.Process(int(pid)) for pid in pids]
        assert len(set(addresses)) == len({database(server) for server in servers}) == 2
        (kept,) = home.glob("*.db")
        assert kept.name.startswith("stenopool-empty-"), "created once: tables take seconds"

        both[0].communicate()
        assert both[0].returncode == 0
        os.kill(both[1].pid, signal.SIGKILL)
        both[1].wait()
        wait_until(lambda: not any(server.is_running() for server in servers), "the servers' end", seconds=30)
        assert len(list(home.iterdir())) == 2
        sweep(home)
        assert list(home.iterdir()) == [kept]
    finally:
        for one in both:
            one.kill()
            one.communicate()


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"PREFECT_API_AUTH_STRING": "another:server's"},
        {"PREFECT_SERVER_API_AUTH_STRING": "mine:chosen-by-the-user"},
    ],
)
def test_the_server_has_a_password_that_only_the_run_knows(own: dict[str, str], tmp_path: Path) -> None:
    program = start(tmp_path, **own)
    try:
        address, pid, password = str(program.stdout and program.stdout.readline()).split()
        assert password == own.get("PREFECT_SERVER_API_AUTH_STRING", password)
        assert password != own.get("PREFECT_API_AUTH_STRING")
        user, _, word = password.partition(":")
        assert httpx.post(f"{address}/flows/", content=b'{"name": "evil"}').status_code == 401
        assert httpx.get(f"{address}/admin/version").status_code == 401
        assert httpx.get(f"{address}/admin/version", auth=(user, word)).status_code == 200
        foreign = {"Origin": "https://evil.example"}
        answer = httpx.post(f"{address}/flows/", json={"name": "evil"}, headers=foreign, auth=(user, word))
        assert answer.status_code == 403
        assert word not in " ".join(psutil.Process(int(pid)).cmdline() + psutil.Process(program.pid).cmdline())
        kept = [file for file in (tmp_path / ".prefect").rglob("*") if file.is_file() and file.suffix != ".db"]
        assert [file for file in kept if word.encode() in file.read_bytes()] == []
    finally:
        program.kill()
        program.communicate()


def test_the_users_settings_take_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {"PREFECT_LOGGING_LEVEL": "DEBUG"})
    embedded.set_environment()
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert os.environ["PREFECT_SERVER_LOGGING_LEVEL"] == "CRITICAL"
