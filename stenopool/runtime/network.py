"""Addresses of this machine: where something is served, and who can reach it."""

import ipaddress
import socket
from typing import NamedTuple, Self
from urllib.parse import urlsplit


class Address(NamedTuple):
    """A host, as IPv4 or IPv6 address or by name, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """``127.0.0.1:9481`` or ``[::1]:9481``. Raises ValueError where a host or a port is missing."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (host and port.isdigit()):
            raise ValueError(f"{text} is not an address with a port")
        return cls(host, int(port))

    @property
    def url(self) -> str:
        """Where programs on this machine reach it: 0.0.0.0 and :: stand for every address, and none to connect to."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def listen(self) -> socket.socket:
        """A listening socket. Raises OSError if the port is taken or the host is not this machine's."""
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
    """Whether a request's Origin header is of a page of the Host that it goes to. Programs send none, which is fine."""
    try:
        return not origin or urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False
