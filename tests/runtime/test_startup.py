"""Threads share a few of the C library's arenas, and free memory is returned to the system; each in a
separate process.
"""

import os
import re
import subprocess
import sys

import pytest

has_arenas = pytest.mark.skipif(sys.platform != "linux", reason="only glibc has arenas")

_COUNT = """
import ctypes, threading
from stenopool.runtime.startup import limit_arenas
if {limited}: limit_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
meet = threading.Barrier(12)
def work():
    libc.malloc(1 << 16)
    meet.wait()
threads = [threading.Thread(target=work) for _ in range(12)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.fopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def _arenas(limited: bool) -> int:
    output = subprocess.run(
        [sys.executable, "-c", _COUNT.format(limited=limited)], capture_output=True, text=True, check=True
    ).stdout
    return len(set(re.findall(r"<heap nr=\"(\d+)\"", output)))


@has_arenas
def test_twelve_threads_share_four_arenas() -> None:
    assert _arenas(limited=True) <= 4 < _arenas(limited=False)


_HOLD = """
from pathlib import Path
from stenopool.runtime.startup import release_free_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
blocks = [bytes(60_000) for _ in range(4000)]
del blocks[:-1]
before = resident()
release_free_memory()
print(before - resident())
"""


@has_arenas
def test_free_memory_below_used_memory_is_returned() -> None:
    output = subprocess.run([sys.executable, "-c", _HOLD], capture_output=True, text=True, check=True).stdout
    assert int(output) > 100 << 20


_TELEMETRY = """
from typer.testing import CliRunner
from stenopool.cli import app
CliRunner().invoke(app, ["models", "--help"])
from prefect._internal.analytics import is_telemetry_enabled
print(is_telemetry_enabled())
"""


def test_prefect_sends_no_usage_reports() -> None:
    """Prefect checks this when it is imported in a terminal, and sends nothing in CI."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": os.environ["HOME"]}
    ask = [sys.executable, "-P", "-c", _TELEMETRY]
    done = subprocess.run(ask, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "False"
