"""Bearer keys and their scopes, stored as digests in a file, and how often each may ask.

    # name        scopes             SHA-256 of the key
    front-desk    read,write         5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8

A key from `python -m stenopool.api.keys NAME read,write` is 32 random bytes. It cannot be guessed from a plain digest,
so no request needs the slow digests that passwords do.
"""

import hashlib
import hmac
import secrets
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from stenopool.errors import ObjectNotFound, OptionsInvalid

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_MOST_CALLERS = 10_000


@dataclass(frozen=True)
class Key:
    """What is known of a key. ``write`` alone cannot read; ``admin`` includes all."""

    name: str
    scopes: frozenset[str]
    digest: str

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes


NOBODY = Key("nobody", frozenset(SCOPES), "")
"""The caller with `--no-auth`."""


class Keys:
    """The keys of one installation."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)

    @classmethod
    def read(cls, path: Path) -> "Keys":
        """Raises `ObjectNotFound` or `OptionsInvalid`, naming the line."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ObjectNotFound(
                f"The file of keys {path} cannot be read: {error.strerror}.",
                remedy="Create it: `python -m stenopool.api.keys NAME read,write >> FILE`; set STENOPOOL_API__KEYS.",
            ) from error
        return cls(_key(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.split("#")[0].strip())

    def holder(self, presented: str) -> Key | None:
        """The presented key's entry. Compares with all, each in constant time, so that timing reveals nothing."""
        digest, found = digest_of(presented), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


class Limiter:
    """A token bucket per caller: ``rate`` requests per second, and twice that at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, 2 * rate)
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> bool:
        now = time.monotonic()
        left, since = self._buckets.pop(caller, (self._most, now))
        left = min(self._most, left + (now - since) * self._rate)
        if len(self._buckets) >= _MOST_CALLERS:  # the one not seen for the longest time goes
            del self._buckets[next(iter(self._buckets))]
        self._buckets[caller] = (max(0.0, left - 1), now)
        return left >= 1


def require_file(path: Path | None) -> Path:
    """The configured file; `OptionsInvalid` if none is."""
    if path is None:
        raise OptionsInvalid(
            "The API has no keys.",
            remedy="Set STENOPOOL_API__KEYS (`python -m stenopool.api.keys` makes a line); on loopback, or --no-auth.",
        )
    return path


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def line(name: str, scopes: str, key: str) -> str:
    """The file's line for a key."""
    return f"{name} {scopes} {digest_of(key)}"


def _key(line: str, where: str) -> Key:
    parts = line.split()
    scopes = parts[1].split(",") if len(parts) == 3 else []
    if not scopes or not set(scopes) <= set(SCOPES) or len(parts[2]) != 64 or set(parts[2]) - set("0123456789abcdef"):
        # The line is not repeated: it may contain the key itself.
        raise OptionsInvalid(
            f"{where} is not a name, scopes ({', '.join(SCOPES)}) and a SHA-256.",
            remedy="`python -m stenopool.api.keys NAME read,write` prints such a line.",
        )
    return Key(parts[0], frozenset(scopes), parts[2])


def main() -> None:
    """``python -m stenopool.api.keys NAME SCOPES``: prints the key on stderr, its line for the file on stdout."""
    if len(sys.argv) != 3:
        sys.exit("Usage: python -m stenopool.api.keys NAME read|read,write|admin >> FILE")
    key = f"steno_{secrets.token_urlsafe(32)}"
    text = line(sys.argv[1], sys.argv[2], key)
    _key(text, "This")
    sys.stdout.write(f"{text}\n")
    sys.stderr.write(f"The key, shown this once: {key}\n")


if __name__ == "__main__":
    main()
