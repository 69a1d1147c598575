"""A separate network, like a pod's, whose outside connection can be cut. Needs root and iproute2."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest


class Namespace:
    """Programs started by ``command`` reach only ``127.0.0.1:port`` of this machine, at ``endpoint``."""

    def __init__(self, port: int) -> None:
        if os.getuid() != 0 or not shutil.which("ip"):
            pytest.skip("no network namespaces: needs root and iproute2")
        self.name = f"stenopool-{secrets.token_hex(3)}"
        self._port = port
        self._link = f"st{secrets.token_hex(3)}"
        net = f"10.231.{secrets.randbelow(256)}"
        self._near, self._far = f"{net}.1", f"{net}.2"
        self.endpoint = ""

    def __enter__(self) -> Self:
        try:
            _ip("netns", "add", self.name)
        except subprocess.CalledProcessError:
            pytest.skip("no network namespaces here")
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "out", "netns", self.name)
        _ip("addr", "add", f"{self._near}/30", "dev", self._link)
        _ip("link", "set", self._link, "up")
        _ip("-n", self.name, "addr", "add", f"{self._far}/30", "dev", "out")
        for device in ("lo", "out"):
            _ip("-n", self.name, "link", "set", device, "up")
        self._listener = socket.create_server((self._near, 0))
        self.endpoint = f"http://{self._near}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.close()
        with suppress(subprocess.CalledProcessError):
            _ip("link", "del", self._link)
        _ip("netns", "del", self.name)

    def command(self, *arguments: str) -> list[str]:
        """The `stenopool` command in the namespace."""
        return ["ip", "netns", "exec", self.name, str(Path(sys.executable).with_name("stenopool")), *arguments]

    def cut(self) -> None:
        """Cut the connection silently: packets vanish, without an error message."""
        _ip("link", "set", self._link, "down")

    def restore(self) -> None:
        _ip("link", "set", self._link, "up")

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
