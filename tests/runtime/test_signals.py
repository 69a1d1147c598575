"""Signals: one module handles them; a run stops at its next safe point, all other commands stop cleanly."""

import ast
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import stenopool

PROGRAM = """
import atexit, sys, time
from stenopool.runtime import signals
atexit.register(print, "atexit", flush=True)
signals.at_end(lambda: print("last step", flush=True))
{handle}
try:
    print("ready", flush=True)
    for _ in range({ticks}):
        time.sleep(0.05)
        signals.stop_if_asked()
    print("continued", flush=True)
except BaseException as error:
    print(type(error).__name__, flush=True)
    raise SystemExit(7 if isinstance(error, signals.Stopped) else getattr(error, "code", 1))
"""


def ended(handle: str, *numbers: signal.Signals, ticks: int = 400) -> tuple[int, list[str]]:
    """Exit code and output of a process that receives these signals when it is ready."""
    code = PROGRAM.format(handle=handle, ticks=ticks)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for number in numbers:
            process.send_signal(number)
        words = process.stdout.read().split("\n")[:-1]
    return process.returncode, words


def test_sigterm_stops_a_command_cleanly() -> None:
    assert ended("signals.exit_on_sigterm()", signal.SIGTERM) == (143, ["SystemExit", "last step", "atexit"])


def test_sigterm_stops_a_run_at_its_next_safe_point() -> None:
    handle = "signals.exit_on_sigterm(); signals.stop_at_safe_points()"
    assert ended(handle, signal.SIGTERM) == (7, ["Stopped", "last step", "atexit"])


def test_a_run_without_a_safe_point_is_interrupted_when_the_grace_period_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STENOPOOL_STOP__GRACE", "0.2")
    handle = "signals.stop_at_safe_points(); signals.stop_if_asked = lambda: None"
    assert ended(handle, signal.SIGTERM, signal.SIGTERM) == (143, ["last step"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stop_signals_of_a_supervisor_are_interrupts(number: signal.Signals) -> None:
    code, words = ended("signals.interrupt_on(*signals.STOPS)", number)
    assert (code, words) == (1, ["KeyboardInterrupt", "last step", "atexit"])


def test_a_process_that_ignores_stop_signals_continues() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    assert ended("signals.ignore_stops()", *numbers, ticks=5) == (0, ["continued", "last step", "atexit"])


def test_one_module_handles_signals() -> None:
    package = Path(stenopool.__file__).parent
    handlers = {
        str(path.relative_to(package))
        for path in [*package.rglob("*.py"), *(package.parent / "flows").glob("*.py")]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("signal.signal", "signal.set_wakeup_fd")
    }
    # In children, between fork and exec, the defaults are restored; the launcher is a separate program.
    assert handlers == {"runtime/signals.py", "runtime/processes.py", "speech/audio/launcher.py"}
