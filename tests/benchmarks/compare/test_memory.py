"""Memory is measured over the whole process tree, without Prefect's server."""

import subprocess
import sys

from benchmarks.compare.memory import Watch

MB = 1 << 20
_HOLD = "import time; held = b'x' * (150 << 20); time.sleep(1.5)"


def _peak(code: str) -> int:
    process = subprocess.Popen([sys.executable, "-c", code])
    watch = Watch(process)
    process.wait()
    watch.end()
    assert watch.at(watch.samples[0][0]) == watch.samples[0][1]
    assert watch.at(0.0) == 0
    return watch.peak


def test_memory_includes_children() -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_HOLD!r}])"
    assert 150 * MB < _peak(child) < 300 * MB


def test_memory_excludes_prefects_server() -> None:
    named = "'stenopool.orchestration.prefect_server'"
    server = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_HOLD!r}, {named}])"
    # In two pieces; otherwise the parent's own command line would name the server too.
    assert _peak(server.replace("'stenopool.", "'stenopool.' + '")) < 100 * MB


def test_memory_excludes_a_child_that_shares_its_parents_memory() -> None:
    """The state of a child between vfork and exec, here for a second: C's `sleep` on a separate stack."""
    clone = (
        "import ctypes; libc = ctypes.CDLL(None); stack = ctypes.create_string_buffer(1 << 16);"
        "top = ctypes.c_void_p((ctypes.addressof(stack) + (1 << 16)) & ~15);"
        "clone_vm, sigchld = 0x100, 17;"
        "assert libc.clone(libc.sleep, top, clone_vm | sigchld, 1) > 0;"
    )
    held, rest = _HOLD.split("time.sleep")
    assert 150 * MB < _peak(f"{held}{clone} time.sleep{rest}") < 300 * MB
