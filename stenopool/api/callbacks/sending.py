"""Sends one event to one receiver: signed, and only to addresses that may be called.

Public addresses may be called, and networks that the settings allow. A name is resolved once, all its addresses are
checked, and only those are connected to. So a name that changes a moment later (DNS rebinding) reaches nothing.
Redirects are not followed.
"""

import asyncio
import base64
import ipaddress
import re
import secrets
import socket
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpcore
from standardwebhooks import Webhook

from stenopool import __version__
from stenopool.errors import ObjectNotFound, OptionsInvalid
from stenopool.settings import CallbackSettings

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GONE = 410
_SPARE = 15.0  # seconds that the store takes to note how a try ended, and that clocks differ
_SECRET = re.compile("whsec_[A-Za-z0-9+/]{32,}={0,2}")


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


class DeliveryError(Exception):
    """The receiver did not accept the event. ``for_good``: it never will."""

    def __init__(self, why: str, *, for_good: bool = False) -> None:
        super().__init__(why)
        self.for_good = for_good


class Sender:
    """Raises `OptionsInvalid` or `ObjectNotFound` for secrets that cannot be used."""

    def __init__(self, settings: CallbackSettings) -> None:
        self._timeout = settings.timeout
        self._signers = _signers(settings.secrets)
        try:
            self.allowed = Allowed(filter(str.strip, settings.allow.split(",")))
        except ValueError as error:
            raise OptionsInvalid(
                f"STENOPOOL_CALLBACKS__ALLOW: {error}.",
                remedy="Give networks with commas between them, e.g. 10.0.0.0/8,192.0.2.7/32.",
            ) from None

    @property
    def can_sign(self) -> bool:
        return bool(self._signers)

    @property
    def longest(self) -> float:
        """Seconds that a try may take until it is known how it ended."""
        return 2 * self._timeout + _SPARE

    async def send(self, url: str, event: str, body: bytes) -> None:
        """POST an event. Raises `DeliveryError` if it is not accepted, or `AddressError` for where it may not go."""
        headers: dict[bytes | str, bytes | str] = {
            "Host": urlsplit(url).netloc,
            "Content-Type": "application/json",
            "User-Agent": f"Stenopool/{__version__}",
            **self._sign(event, body),
        }
        connections = Connections(self.allowed, encrypted=url.startswith("https:"))
        times = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout)
        try:
            # httpcore follows no redirects and uses no proxies, so only checked addresses are connected to.
            async with (
                asyncio.timeout(2 * self._timeout),
                httpcore.AsyncConnectionPool(network_backend=connections) as pool,
                pool.stream("POST", url, headers=headers, content=body, extensions={"timeout": times}) as answer,
            ):
                status = answer.status  # the body is not read: it may be endless
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, TimeoutError) as error:
            raise DeliveryError(type(error).__name__) from None
        if not 200 <= status < 300:
            raise DeliveryError(f"HTTP {status}", for_good=status == _GONE)

    def _sign(self, event: str, body: bytes) -> dict[bytes | str, bytes | str]:
        """The three headers of Standard Webhooks; a signature by each secret, so that one can be changed."""
        now = datetime.now(UTC)
        signatures = " ".join(signer.sign(event, now, body.decode()) for signer in self._signers)
        return {
            "webhook-id": event,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signatures,
        }


def _signers(path: Path | None) -> list[Webhook]:
    if path is None:
        return []
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
        signers = [Webhook(line) for line in lines if _SECRET.fullmatch(line)]
    except OSError as error:
        raise ObjectNotFound(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError:
        signers = []
    if not signers or len(signers) != len(lines):
        # The lines are not repeated: they are secrets.
        raise OptionsInvalid(
            f"{path} does not hold a secret per line, each whsec_ and 24 bytes or more in base64.",
            remedy="`python -m stenopool.api.callbacks.sending` prints one.",
        )
    return signers


def new_secret() -> str:
    """A secret of 32 random bytes, in the form that all libraries of Standard Webhooks take."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


if __name__ == "__main__":
    sys.stdout.write(f"{new_secret()}\n")
