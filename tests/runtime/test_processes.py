"""Child processes: they import nothing from the current folder, and end with their parent."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from stenopool.runtime.processes import end, python_command, safe_environment, spawn

PARENT = """
import sys, time
from stenopool.runtime.processes import spawn
child = spawn([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
{then}
"""


@pytest.mark.parametrize("then", ["time.sleep(600)", "import os; os._exit(3)"])
def test_a_child_ends_with_its_parent_however_the_parent_ends(then: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT.format(then=then)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    try:
        child.wait(10)
    except psutil.TimeoutExpired:
        child.kill()
        raise


def test_the_end_of_a_thread_does_not_end_the_child() -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            spawn([sys.executable, "-c", ""])
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


def test_a_child_that_does_not_stop_is_killed() -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    child = spawn([sys.executable, "-c", deaf], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    before = time.monotonic()
    end(child, 0.3)
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL
    assert time.monotonic() - before < 10


def test_packages_in_the_current_folder_are_not_imported_by_children_and_their_children(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('the json of the current folder')")
    again = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-m', 'json.tool', '--help']))"
    for command in (python_command("json.tool", "--help"), [sys.executable, "-c", again]):
        run = subprocess.run(command, cwd=tmp_path, env=safe_environment(), capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    unsafe = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    run = subprocess.run([sys.executable, "-c", again], cwd=tmp_path, env=unsafe, capture_output=True, text=True)
    assert "of the current folder" in run.stderr, "without it, they are: this test can fail"
