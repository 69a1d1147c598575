"""``stenopool up``: what it refuses, and how its programs are kept and ended (stand-ins for server and workers)."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stenopool.runtime.network import Address
from stenopool.runtime.processes import Supervisor
from tests.support.command_line import Call
from tests.support.processes import free_port, without_prefect
from tests.support.waiting import wait_until


@pytest.fixture
def no_server() -> Iterator[None]:
    """Other tests' Prefect server, and the developer's, are not there."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


@pytest.mark.usefixtures("no_server")
class TestRefused:
    def test_an_address_that_others_reach_without_a_password(self, stenopool: Call) -> None:
        answer = stenopool("up", "--host", "0.0.0.0")
        assert answer.code == 2
        assert "set no password" in answer.err
        assert "PREFECT_SERVER_API_AUTH_STRING=" in answer.err

    def test_a_port_that_is_taken(self, stenopool: Call) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            answer = stenopool("up", "--port", taken.getsockname()[1])
        assert answer.code == 2
        assert "another --port" in answer.err

    @pytest.mark.parametrize(
        "alone",
        [
            ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "postgresql://prefect@db/prefect"),
            ("PREFECT_REDIS_MESSAGING_URL", "redis://cache:6379/0"),
        ],
    )
    def test_postgresql_and_redis_without_each_other(
        self, alone: tuple[str, str], stenopool: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(*alone)
        answer = stenopool("up", "--port", free_port())
        assert answer.code == 2
        assert "go together" in answer.err

    def test_a_pool_that_there_is_not(self, stenopool: Call) -> None:
        answer = stenopool("up", "--port", free_port(), "--pools", "cpu,tpu")
        assert answer.code == 2
        assert "no work pool tpu" in answer.err

    def test_pages_without_a_port(self, stenopool: Call) -> None:
        answer = stenopool("up", "--port", free_port(), "--pages", "0.0.0.0")
        assert answer.code == 2
        assert "--pages like 127.0.0.1:9481" in answer.err

    def test_a_server_that_does_not_answer(self, stenopool: Call) -> None:
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
            answer = stenopool("up")
        assert answer.code == 2
        assert "http://127.0.0.1:9/api" in answer.err
        assert "prefect config unset PREFECT_API_URL" in answer.err


# Notes its start, starts a flow run where it is told to, and notes that it was asked to end.
PROGRAM = """
import os, signal, subprocess, sys, time
name, journal, *flow_runs = sys.argv[1:]
def note(line):
    with open(journal, "a") as file:
        print(line, file=file)
def stop(*_):
    time.sleep(0.3)
    note("asked " + name)
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
for one in flow_runs:
    mark = {"PREFECT__FLOW_RUN_ID": one}
    subprocess.Popen([sys.executable, __file__, one, journal], env=os.environ | mark, start_new_session=True)
if "PREFECT__FLOW_RUN_ID" in os.environ and name != "ffmpeg":
    subprocess.Popen([sys.executable, __file__, "ffmpeg", journal], start_new_session=True)
note(f"started {name} {os.getpid()}")
time.sleep(600)
"""

COMMAND = """
import json, os, signal, sys, time
from stenopool.runtime.processes import Supervisor
signal.signal(signal.SIGTERM, signal.default_int_handler)
server, worker = json.loads(sys.argv[1])
try:
    with Supervisor(5, lambda line: print(line, flush=True)) as supervisor:
        supervisor.start("The server", server, os.environ, last=True)
        supervisor.start("The worker", worker, os.environ)
        while True:
            supervisor.restart_ended()
            time.sleep(0.05)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


class Stack:
    """A command with a server and a worker that carries a flow run, which has started a program of its own."""

    def __init__(self, folder: Path) -> None:
        self._journal = folder / "journal.txt"
        self._journal.touch()
        program = folder / "program.py"
        program.write_text(PROGRAM)
        server, worker = (
            [sys.executable, str(program), name, str(self._journal), *more]
            for name, *more in (("server",), ("worker", "flow-run"))
        )
        self.log = folder / "log.txt"
        with self.log.open("wb") as log:
            self.command = subprocess.Popen(
                [sys.executable, "-c", COMMAND, json.dumps([server, worker])], stdout=log, stderr=log
            )
        for name in ("server", "worker", "flow-run", "ffmpeg"):
            self.wait_for(name)

    def asked(self) -> list[str]:
        """Who was asked to end, and did, in this order."""
        return [name for what, name, *_ in self._lines() if what == "asked"]

    def pids(self, name: str | None = None) -> list[int]:
        """All that were started, by name."""
        return [int(more[0]) for what, one, *more in self._lines() if what == "started" and name in (one, None)]

    def wait_for(self, name: str, times: int = 1) -> int:
        """The process id of its latest start."""
        wait_until(lambda: len(self.pids(name)) >= times, f"{name} started {times} times")
        return self.pids(name)[-1]

    def remove(self) -> None:
        for pid in [self.command.pid, *self.pids()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.command.wait()

    def _lines(self) -> list[list[str]]:
        return [line.split() for line in self._journal.read_text().splitlines()]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    try:
        yield made
    finally:
        made.remove()


class TestPrograms:
    def test_end_in_order_and_flow_runs_before_the_worker_that_would_kill_them(self, stack: Stack) -> None:
        stack.command.terminate()
        assert stack.command.wait(30) == 0
        # What a flow run has started is the flow run's to end; left over, it is asked with the rest.
        order = [name for name in stack.asked() if name != "ffmpeg"]
        assert order == ["flow-run", "worker", "server"]
        assert not [pid for pid in stack.pids() if alive(pid)]

    def test_end_with_a_killed_command(self, stack: Stack) -> None:
        stack.command.kill()
        stack.command.wait()
        wait_until(lambda: not [pid for pid in stack.pids() if alive(pid)], "no process is left")
        assert [name for name in stack.asked() if name != "ffmpeg"] == ["flow-run", "worker", "server"]

    def test_one_that_dies_comes_back_and_its_orphans_end_too(self, stack: Stack) -> None:
        os.kill(stack.wait_for("worker"), signal.SIGKILL)
        stack.wait_for("worker", times=2)
        stack.wait_for("flow-run", times=2)
        assert "The worker was ended by SIGKILL; restarting it in 1 s." in stack.log.read_text()
        stack.command.terminate()
        assert stack.command.wait(30) == 0
        assert not [pid for pid in stack.pids() if alive(pid)]
        assert stack.asked().count("flow-run") == 2


CHOOSE = """
from stenopool.cli.local_stack import _choose_server
from stenopool.runtime.network import Address
_choose_server(Address("127.0.0.1", 0), page=True)
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_the_password_is_shown_to_a_person_and_to_no_log(terminal: bool, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    said = theirs if terminal else subprocess.PIPE
    environment = without_prefect() | {"PREFECT_HOME": str(tmp_path), "DO_NOT_TRACK": "1"}
    with os.fdopen(ours, "rb") as screen:
        done = subprocess.run([sys.executable, "-P", "-c", CHOOSE], env=environment, stderr=said, check=True)
        os.close(theirs)
        said = screen.readline() if terminal else done.stderr
    file = tmp_path / "stenopool-auth"
    assert str(file).encode() in said
    assert (file.read_bytes().strip() in said) is terminal


def test_a_port_that_is_handed_on_is_never_free() -> None:
    """Another user would take it while a server is started again, and be brought its password."""
    serve = "import socket, sys, time; socket.socket(fileno=int(sys.argv[1])).accept()[0].send(b'here'); time.sleep(9)"
    with Address("127.0.0.1", 0).listen() as listening, Supervisor(5, lambda _: None) as supervisor:
        address, descriptor = Address(*listening.getsockname()), listening.fileno()
        command = [sys.executable, "-P", "-c", serve, str(descriptor)]
        first = supervisor.start("The server", command, os.environ, pass_fds=[descriptor])
        first.kill()
        first.wait()
        with pytest.raises(OSError, match="in use"):
            address.listen()
        with socket.create_connection(address, timeout=0.2) as waiting:

            def is_served() -> bool:
                supervisor.restart_ended()
                with suppress(TimeoutError):
                    return waiting.recv(4) == b"here"
                return False

            wait_until(is_served, "the next server")


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
