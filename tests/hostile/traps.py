"""Traps for hostile files: a planted file that records being opened, a socket that records connections."""

import ctypes
import os
import selectors
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

_IN_OPEN, _IN_ACCESS, _NONBLOCK = 0x20, 0x01, 0o4000
_EVENT = struct.Struct("iIII")


class Watch:
    """A folder watched by the kernel (inotify). ``opened()``: the names opened in it since the last call, by any
    process.
    """

    def __init__(self, folder: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.inotify_init1(_NONBLOCK)
        if self._file < 0 or libc.inotify_add_watch(self._file, os.fsencode(folder), _IN_OPEN | _IN_ACCESS) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._file)

    def opened(self) -> set[str]:
        """Names of files, not of folders."""
        names = set()
        while True:
            try:
                events = os.read(self._file, 65536)
            except BlockingIOError:
                return names
            while events:
                _, mask, _, length = _EVENT.unpack_from(events)
                name = events[_EVENT.size : _EVENT.size + length].rstrip(b"\0")
                if not mask & 0x4000_0000:  # IN_ISDIR
                    names.add(os.fsdecode(name))
                events = events[_EVENT.size + length :]


class Listener:
    """TCP and UDP on one port of 127.0.0.1. ``calls()``: the number of connections and datagrams."""

    def __init__(self) -> None:
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        self._selector = selectors.DefaultSelector()
        for one in (self._tcp, self._udp):
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._selector.close()
        self._tcp.close()
        self._udp.close()

    def calls(self) -> int:
        """Counted once: those since the last call."""
        count = 0
        while ready := self._selector.select(0.05):
            for key, _ in ready:
                count += 1
                if key.fileobj is self._tcp:
                    self._tcp.accept()[0].close()
                else:
                    self._udp.recv(65536)
        return count
