"""Sends one event to one receiver: signed, and retried for some seconds."""

import asyncio
import base64
import re
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpcore
from standardwebhooks import Webhook
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from stenopool import __version__
from stenopool.api.callbacks.addresses import Allowed, Connections
from stenopool.errors import ObjectNotFound, OptionsInvalid
from stenopool.settings import CallbackSettings

_TRIES = 3  # in one turn; the next turn may be another process's
_BETWEEN = 5.0  # seconds between two of them, at most
_GONE = 410
_SECRET = re.compile("whsec_[A-Za-z0-9+/]{32,}={0,2}")


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
    def longest_turn(self) -> float:
        """Seconds that `send` may take."""
        return _TRIES * (2 * self._timeout + _BETWEEN)

    async def send(self, url: str, event: str, body: bytes) -> None:
        """POST an event. Raises `DeliveryError` after three tries, or `AddressError` for where it may not go."""
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(_TRIES),
            wait=wait_exponential_jitter(initial=0.5, max=_BETWEEN),
            retry=retry_if_exception(lambda error: isinstance(error, DeliveryError) and not error.for_good),
            reraise=True,
        ):
            with attempt:
                await self._post(url, event, body)

    async def _post(self, url: str, event: str, body: bytes) -> None:
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
