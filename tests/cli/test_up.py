"""``stenopool up``: usage errors, and how its programs restart and stop (with stand-ins for server and workers)."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import typer

from stenopool.cli.local_stack import _give_up, _make_worker_command, _new_log
from stenopool.runtime.network import Address
from stenopool.runtime.processes import Supervisor
from tests.support.command_line import Call
from tests.support.processes import free_port, without_prefect
from tests.support.waiting import wait_until


@pytest.fixture
def no_server() -> Iterator[None]:
    """No Prefect server is configured: neither that of other tests nor the developer's."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


@pytest.mark.parametrize("pages", [None, "127.0.0.1:9481"])
def test_a_limit_is_for_the_worker_of_the_pool_gpu_only(pages: str | None) -> None:
    assert "--limit" in _make_worker_command("gpu", 1, pages, 0)
    assert "--limit" not in _make_worker_command("cpu", 1, pages, 0)
    assert "--limit" not in _make_worker_command("gpu", None, pages, 0)


@pytest.mark.usefixtures("no_server")
class TestUsageErrors:
    def test_a_public_address_without_a_password(self, stenopool: Call) -> None:
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
        assert "used together" in answer.err

    def test_an_unknown_pool(self, stenopool: Call) -> None:
        answer = stenopool("up", "--port", free_port(), "--pools", "cpu,tpu")
        assert answer.code == 2
        assert "no work pool tpu" in answer.err

    def test_pages_without_a_port(self, stenopool: Call) -> None:
        answer = stenopool("up", "--port", free_port(), "--pages", "0.0.0.0")
        assert answer.code == 2
        assert "host:port, e.g. 127.0.0.1:9481" in answer.err

    def test_a_limit_on_the_pool_whose_parents_wait_for_children(self, stenopool: Call) -> None:
        answer = stenopool("worker", "--pool", "cpu", "--limit", "1")
        assert answer.code == 2
        assert "Omit --limit" in answer.err

    def test_an_unreachable_server(self, stenopool: Call) -> None:
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
            answer = stenopool("up")
        assert answer.code == 2
        assert "http://127.0.0.1:9/api" in answer.err
        assert "prefect config unset PREFECT_API_URL" in answer.err


# Notes its start, starts the flow runs in its arguments, and notes when it is asked to stop.
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
    """A command with a server, and a worker with a flow run that has started another program."""

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
        """The programs that were asked to stop and did, in this order."""
        return [name for what, name, *_ in self._lines() if what == "asked"]

    def pids(self, name: str | None = None) -> list[int]:
        """The process ids of all starts, or of those with this name."""
        return [int(more[0]) for what, one, *more in self._lines() if what == "started" and name in (one, None)]

    def wait_for(self, name: str, times: int = 1) -> int:
        """Wait for its nth start; returns the process id."""
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
    def test_stop_in_order_flow_runs_before_the_worker_that_would_kill_them(self, stack: Stack) -> None:
        stack.command.terminate()
        assert stack.command.wait(30) == 0
        # A flow run stops its own programs. One that is left is asked with the rest.
        order = [name for name in stack.asked() if name != "ffmpeg"]
        assert order == ["flow-run", "worker", "server"]
        assert not [pid for pid in stack.pids() if alive(pid)]

    def test_stop_after_the_command_was_killed(self, stack: Stack) -> None:
        stack.command.kill()
        stack.command.wait()
        wait_until(lambda: not [pid for pid in stack.pids() if alive(pid)], "no process is left")
        assert [name for name in stack.asked() if name != "ffmpeg"] == ["flow-run", "worker", "server"]

    def test_a_killed_one_restarts_and_its_orphans_stop_too(self, stack: Stack) -> None:
        os.kill(stack.wait_for("worker"), signal.SIGKILL)
        stack.wait_for("worker", times=2)
        stack.wait_for("flow-run", times=2)
        assert "The worker was ended by SIGKILL; restarting it in 1 s." in stack.log.read_text()
        stack.command.terminate()
        assert stack.command.wait(30) == 0
        assert not [pid for pid in stack.pids() if alive(pid)]
        assert stack.asked().count("flow-run") == 2


DESCRIBE = """
from stenopool.cli.display import print_addresses
from stenopool.cli.local_stack import _choose_server, _describe
from stenopool.runtime.network import Address
server = _choose_server(Address("127.0.0.1", 0), page=True)
print_addresses("Running", _describe(server, None, {}, page=True), "Stop it.")
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_the_password_is_shown_on_a_terminal_only(terminal: bool, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    output = theirs if terminal else subprocess.PIPE
    environment = without_prefect() | {"PREFECT_HOME": str(tmp_path), "DO_NOT_TRACK": "1"}
    done = subprocess.run([sys.executable, "-P", "-c", DESCRIBE], env=environment, stdout=output, check=True)
    printed = os.read(ours, 100_000) if terminal else done.stdout
    os.close(theirs)
    os.close(ours)
    file = tmp_path / "stenopool-auth"
    assert b"Stop it." in printed
    assert str(file).encode() in printed
    assert (file.read_bytes().strip() in printed) is terminal


def test_output_is_appended_to_a_private_log(tmp_path: Path) -> None:
    log = tmp_path / "program.log"
    command = [sys.executable, "-c", "import sys; print('result'); print('problem', file=sys.stderr)"]
    reports: list[str] = []
    with Supervisor(5, reports.append) as supervisor:
        supervisor.start("The program", command, os.environ, log=log)

        def has_restarted() -> bool:
            supervisor.restart_ended()
            return log.read_text().count("result") > 1

        wait_until(has_restarted, "a second start")
    assert log.read_text().count("problem") >= 1
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert reports[0] == f"The program ended with exit code 0; restarting it in 1 s. Its log: {log}"


def test_the_log_of_the_previous_start_is_kept(tmp_path: Path) -> None:
    for text in ("first", "second", "third"):
        log = _new_log(tmp_path, "api")
        assert log
        assert not log.exists()
        log.write_text(text)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"api.log": "third", "api.log.1": "second"}


def test_a_failed_start_shows_the_end_of_its_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "api.log"
    log.write_text("".join(f"line {number}\n" for number in range(50)) + "\x1b[31mthe reason\n")
    with pytest.raises(typer.Exit):
        _give_up("The API did not start in time", log)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2:] == ["\\x1b[31mthe reason", f"The API did not start in time; see {log}."]
    assert len(lines) == 11


def test_a_port_stays_taken_between_restarts() -> None:
    """Otherwise, another user could take it during a restart, and receive the password."""
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
    """Whether a process runs; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
