"""``stenopool up`` or ``serve`` as a process, with all processes that it starts."""

import os
import queue
import re
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from stenopool.runtime.processes import MARK
from tests.e2e.conftest import Program


class Up:
    """The running command; ``rows`` are the names and values in the block that it prints when it is ready."""

    def __init__(self, stenopool: Program, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self._home = f"HOME={stenopool.home}".encode()
        self.log = stenopool.home / "up.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [stenopool.path, *arguments],
                env={**stenopool.environment, **(environment or {})},
                cwd=stenopool.folder,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        block = ""
        while not block.endswith("\nPress Ctrl-C to stop.\n"):
            line = self._lines.get(timeout=400)
            assert line, block + self.log.read_text()[-5000:]
            block += line
        self.rows: dict[str, str] = dict(re.findall(r"^  (\S.*?) {2,}(.+)$", block, re.MULTILINE))

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def rest(self) -> str:
        """The output after that, until its end."""
        return "".join(iter(lambda: self._lines.get(timeout=60), ""))

    def children(self, words: str = "") -> list[int]:
        """The processes with its mark, which children inherit, and with these words in their command line."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                environment = (folder / "environ").read_bytes()
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if self._home in environment and f"{MARK}=".encode() in environment and words in command:
                    found.append(int(folder.name))
        return found

    def remove(self) -> None:
        for pid in [self.process.pid, *self.children()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
