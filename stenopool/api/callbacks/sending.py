"""Sends one event to one receiver: signed, and only to allowed addresses.

Public addresses are allowed, and networks from the settings. A name is resolved once, all its addresses are checked,
and only those are connected to. So a name that changes a moment later (DNS rebinding) reaches nothing. Redirects are
not followed. Names are resolved in separate threads, so that a slow name server blocks no other work. The number of
simultaneous requests is limited per host and per key.
"""

import asyncio
import base64
import ipaddress
import re
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import httpcore
from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from standardwebhooks import Webhook

from stenopool import __version__
from stenopool.errors import ObjectNotFound, OptionsInvalid
from stenopool.settings import CallbackSettings

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Listed here, because `ipaddress` has IANA's data from when this Python was released: all of IANA's special-purpose
# addresses (as of November 2026), multicast, and addresses that clouds reserve.
_NOT_PUBLIC: tuple[Network, ...] = tuple(
    ipaddress.ip_network(one)
    for one in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's host
        # Within 2000::/3. Nothing outside of it is public: fec0::/10 (site-local), fc00::/7, 64:ff9b:1::/48, 5f00::/16.
        "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
    )
)  # fmt: skip
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_LOOK_UPS = 8  # at a time
_PATIENCE = 3.0  # seconds to wait for a name server
_PER_HOST, _PER_OWNER = 2, 4  # requests at a time
_GONE = 410
_SPARE = 15.0  # seconds for storing the result of an attempt, and for differences between clocks
_SECRET = re.compile("whsec_[A-Za-z0-9+/]{32,}={0,2}")


class AddressError(Exception):
    """Callbacks to this address are not allowed. Does not say what it resolves to: that would reveal the network."""


class Allowed:
    """Checks callback URLs. ``networks`` are allowed although they are not public, also without TLS.

    ``hosts``: the only ones that are allowed, as names or patterns such as ``*.example.org``; empty: all.
    """

    def __init__(self, networks: Iterable[str], hosts: Iterable[str] = ()) -> None:
        self._networks: list[Network] = [ipaddress.ip_network(one.strip(), strict=False) for one in networks]
        self._hosts = [one.strip().lower() for one in hosts]
        # Not the event loop's threads, which the stores use.
        self._threads = ThreadPoolExecutor(_LOOK_UPS, "names")

    def takes(self, address: str, *, encrypted: bool) -> bool:
        """Whether connections to a resolved address are allowed."""
        ip = _meant(ipaddress.ip_address(address.partition("%")[0]))
        if any(ip in network for network in self._networks):
            return True
        return encrypted and (ip.version == 4 or ip in _GLOBAL_UNICAST) and not any(ip in one for one in _NOT_PUBLIC)

    async def check(self, url: str) -> None:
        """Raises `AddressError` if callbacks to this URL are not allowed now. Checked again before an event is sent."""
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
        """Return a name's addresses. Raises `AddressError` if there are none, or if any of them is not allowed."""
        name = host.lower().rstrip(".")
        if self._hosts and not any(fnmatchcase(name, pattern) for pattern in self._hosts):
            raise AddressError
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except (OSError, UnicodeError):  # includes TimeoutError
            raise AddressError from None
        addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        if not addresses or not all(self.takes(address, encrypted=encrypted) for address in addresses):
            raise AddressError
        return addresses


def _meant(ip: IPAddress) -> IPAddress:
    """Return the IPv4 address that an IPv6 address maps to, if any."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip


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


class _Places:
    """Limits the number of simultaneous holders per name."""

    def __init__(self, most: int) -> None:
        self._most = most
        # An entry disappears when no task holds a place or waits for one.
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of(self, name: str) -> asyncio.Semaphore:
        return self._places.get(name) or self._places.setdefault(name, asyncio.Semaphore(self._most))


class Sender:
    """Signs and sends events. ``cipher`` encrypts stored requests; without secrets it is None, and nothing is sent.

    Raises `OptionsInvalid` or `ObjectNotFound` for secrets that cannot be used.
    """

    def __init__(self, settings: CallbackSettings) -> None:
        self.most = settings.most
        self._timeout = settings.timeout
        lines = _read_secrets(settings.secrets)
        self._signers = [Webhook(line) for line in lines]
        self.cipher = MultiFernet([_cipher(line) for line in lines]) if lines else None
        self._of_host, self._of_owner = _Places(_PER_HOST), _Places(_PER_OWNER)
        try:
            self.allowed = Allowed(_parts(settings.allow), _parts(settings.hosts))
        except ValueError as error:
            raise OptionsInvalid(
                f"STENOPOOL_CALLBACKS__ALLOW: {error}.",
                remedy="Use comma-separated networks, e.g. 10.0.0.0/8,192.0.2.7/32.",
            ) from None

    @property
    def can_sign(self) -> bool:
        return bool(self._signers)

    @property
    def longest(self) -> float:
        """Maximum seconds from the start of an attempt until its result is known."""
        return 2 * self._timeout + _SPARE

    @asynccontextmanager
    async def turn(self, url: str, owner: str) -> AsyncIterator[None]:
        """Wait until neither the URL's host nor the owner has too many requests in progress."""
        host = (urlsplit(url).hostname or "").rstrip(".")
        async with self._of_owner.of(owner), self._of_host.of(host):
            yield

    async def send(self, url: str, event: str, body: bytes) -> None:
        """POST an event. Raises `DeliveryError` if it is refused, or `AddressError` if the address is not allowed."""
        parts = urlsplit(url)  # lower-cases the scheme, as httpcore requires
        url = f"{parts.scheme}:{url.partition(':')[2]}"
        headers: dict[bytes | str, bytes | str] = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "User-Agent": f"Stenopool/{__version__}",
            **self._sign(event, body),
        }
        connections = Connections(self.allowed, encrypted=parts.scheme == "https")
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
        """Return the three headers of Standard Webhooks. All secrets sign, so that a secret can be replaced."""
        now = datetime.now(UTC)
        signatures = " ".join(signer.sign(event, now, body.decode()) for signer in self._signers)
        return {
            "webhook-id": event,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signatures,
        }


def _parts(text: str) -> list[str]:
    return [part for part in text.split(",") if part.strip()]


def _cipher(secret: str) -> Fernet:
    """Derive a separate key: the one that signs must not encrypt."""
    key = HKDF(SHA256(), 32, salt=None, info=b"stenopool callbacks at rest").derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(key))


def _read_secrets(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
        usable = bool(lines) and all(_SECRET.fullmatch(line) and Webhook(line) for line in lines)
    except OSError as error:
        raise ObjectNotFound(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError:
        usable = False
    if not usable:
        # The message does not quote the lines: they are secrets.
        raise OptionsInvalid(
            f"{path} must have one secret per line: whsec_, followed by 24 bytes or more in base64.",
            remedy="`python -m stenopool.api.callbacks.sending` prints one.",
        )
    return lines


def new_secret() -> str:
    """Return a secret of 32 random bytes, in the form that all libraries for Standard Webhooks accept."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


if __name__ == "__main__":
    sys.stdout.write(f"{new_secret()}\n")
