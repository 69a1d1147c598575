"""Memory is that of the whole tree, without Prefect's server."""

import subprocess
import sys

from stenopool.cli.bench.memory import Watch

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


def test_children_count() -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_HOLD!r}])"
    assert 150 * MB < _peak(child) < 300 * MB


def test_prefects_server_does_not() -> None:
    server = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_HOLD!r}, 'prefect.server.api'])"
    # In two pieces, or the parent's own command line would name the server, too.
    assert _peak(server.replace("'prefect.server.api'", "'prefect.' + 'server.api'")) < 100 * MB
