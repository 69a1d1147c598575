"""Which addresses may be called: public ones, and networks that the settings allow.

A name is resolved once, all its addresses are checked, and only those are connected to. So a name that changes a moment
later (DNS rebinding) reaches nothing. Redirects are not followed.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpcore

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class AddressError(Exception):
    """This address may not be called. Does not say what it resolves to: that would reveal our network."""


class Allowed:
    """``networks``: may be called although they are not public, also without TLS."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(one.strip(), strict=False) for one in networks]

    def takes(self, address: str, *, encrypted: bool) -> bool:
        """Whether a resolved address may be connected to."""
        ip = _meant(ipaddress.ip_address(address.partition("%")[0]))
        if any(ip in network for network in self._networks if network.version == ip.version):
            return True
        special = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_reserved or ip.is_unspecified
        return encrypted and ip.is_global and not special and not ip.is_multicast

    async def check(self, url: str) -> None:
        """`AddressError` if a callback may not be sent there now; checked again when it is sent."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise AddressError from None
        if not url.isascii() or not url.isprintable() or " " in url:
            raise AddressError
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            raise AddressError
        await self.resolve(parts.hostname, port or 443, encrypted=parts.scheme == "https")

    async def resolve(self, host: str, port: int, *, encrypted: bool) -> list[str]:
        """A name's addresses; `AddressError` if there are none, or if any of them may not be called."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise AddressError from None
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        if not addresses or not all(self.takes(address, encrypted=encrypted) for address in addresses):
            raise AddressError
        return addresses


def _meant(ip: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 one leads to, where it does."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or ip


class Connections(httpcore.AsyncNetworkBackend):
    """httpcore's connections, to allowed addresses only."""

    def __init__(self, allowed: Allowed, *, encrypted: bool) -> None:
        self._allowed = allowed
        self._encrypted = encrypted
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(self, host: str, port: int, *arguments: Any, **more: Any) -> httpcore.AsyncNetworkStream:
        error: Exception = httpcore.ConnectError()
        for address in await self._allowed.resolve(host, port, encrypted=self._encrypted):
            try:
                return await self._inner.connect_tcp(address, port, *arguments, **more)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failed:
                error = failed
        raise error

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)
