"""Addresses of this machine: where a program listens, and who can reach it."""

import ipaddress
import socket
from typing import NamedTuple, Self
from urllib.parse import urlsplit


class Address(NamedTuple):
    """A host (IPv4 address, IPv6 address or name) and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """``127.0.0.1:9481`` or ``[::1]:9481``. Raises ValueError if the host or the port is missing."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (host and port.isdigit()):
            raise ValueError(f"{text} is not of the form HOST:PORT")
        return cls(host, int(port))

    @property
    def url(self) -> str:
        """The URL for programs on this machine. 0.0.0.0 and :: mean all addresses and cannot be connected to."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def listen(self) -> socket.socket:
        """A listening socket. Raises OSError if the port is in use or the host does not belong to this machine."""
        return socket.create_server(tuple(self), family=socket.AF_INET6 if ":" in self.host else socket.AF_INET)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def names_this_machine(host: str) -> bool:
    """Whether a request's Host header names this machine on loopback, such as ``localhost:4200`` or ``[::1]``."""
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:  # such as "["
        return False


def is_same_origin(origin: str, host: str) -> bool:
    """Whether a request's Origin header matches its Host. Programs other than browsers send no Origin, which is
    allowed.
    """
    try:
        return not origin or urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
