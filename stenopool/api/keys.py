"""Bearer keys and their scopes, stored as digests in a file, and rate limits.

    # name      scopes             SHA-256 of the key                                                optional
    front-desk  read,write         5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8  until=2027-01-01
    agency      read,write,delete  6b3a55e0261b0304143f805a24924d0c1c44524821305f31d9277843b8a10f4e  prefix=agency/

A key from `python -m stenopool.api.keys NAME read,write` is 32 random bytes. It cannot be guessed from a plain digest,
so the slow digests that passwords need are unnecessary.
"""

import hashlib
import hmac
import math
import secrets
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from stenopool.errors import KeyUnusable, ObjectNotFound, OptionsInvalid, SetupError
from stenopool.runtime.characters import find_unsafe
from stenopool.runtime.logs import get_logger
from stenopool.storage.base import check_key

log = get_logger("stenopool.audit")

Scope = Literal["read", "write", "delete", "batch", "edit", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
_COLUMNS = ("prefix", "until")
_MOST_CALLERS = 10_000
_FRESH = 1.0  # seconds between checks of the file


@dataclass(frozen=True)
class Key:
    """A key's entry. ``write`` does not include reading; ``admin`` includes everything.

    ``prefix``: only recordings with this prefix exist for the key; empty: all. ``until``: when it expires.
    """

    name: str
    scopes: frozenset[str]
    digest: str
    prefix: str = ""
    until: datetime | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def is_expired(self) -> bool:
        return self.until is not None and datetime.now(UTC) >= self.until


NOBODY = Key("nobody", frozenset(SCOPES), "")
"""The caller with `--no-auth`, and the service's own caller."""


class Keys:
    """The keys of an installation. If they come from a file, they are reloaded when it changes."""

    def __init__(self, keys: Iterable[Key], path: Path | None = None, content: bytes = b"") -> None:
        self._keys = tuple(keys)
        self._path = path
        self._content = content
        self._checked_at = time.monotonic()
        self._refused = ""  # why the file's current content is not used

    @classmethod
    def read(cls, path: Path) -> "Keys":
        """Read a key file. Raises `ObjectNotFound`, or `OptionsInvalid` with the line."""
        content = _content(path)
        return cls(_parse(content, path), path, content)

    def holder(self, presented: str) -> Key | None:
        """Return the entry of a key; None if it is unknown or has expired.

        Compares it with all keys, each in constant time, so timing reveals nothing.
        """
        self._follow_file()
        digest, found = digest_of(presented), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return None if found is None or found.is_expired() else found

    def _follow_file(self) -> None:
        """Reload the file if its content has changed. Time stamps are not enough: two versions may have the same one.

        A file that cannot be used changes nothing.
        """
        if self._path is None or time.monotonic() - self._checked_at < _FRESH:
            return
        self._checked_at = time.monotonic()
        try:
            content = _content(self._path)
            if content == self._content and not self._refused:
                return
            keys = tuple(_parse(content, self._path))
        except SetupError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                log.error("The previous keys remain in use. %s", error)
            return
        log.info("Reloaded the keys: %s.", _describe_change(self._keys, keys))
        self._keys, self._content, self._refused = keys, content, ""


class Allowance(NamedTuple):
    """Whether a caller may send a request now; if not, the seconds to wait. ``headers``: the same for the response."""

    allowed: bool
    wait: int
    headers: dict[str, str]


class Limiter:
    """A token bucket per caller: ``rate`` requests per second, with bursts of twice that."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, 2 * rate)
        self._policy = f'"requests";q={int(self._most)};w={math.ceil(self._most / rate)}'
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, price: float = 1) -> Allowance:
        """Take ``price`` tokens from the caller's bucket, or as many as a full bucket has.

        The headers follow draft-ietf-httpapi-ratelimit-headers-10.
        """
        price = min(price, self._most)
        now = time.monotonic()
        left, since = self._buckets.pop(caller, (self._most, now))
        left = min(self._most, left + (now - since) * self._rate)
        if len(self._buckets) >= _MOST_CALLERS:  # drop the one not seen for the longest time
            del self._buckets[next(iter(self._buckets))]
        after = left - price if left >= price else left
        self._buckets[caller] = (after, now)
        full = math.ceil((self._most - after) / self._rate)
        headers = {"RateLimit-Policy": self._policy, "RateLimit": f'"requests";r={int(after)};t={full}'}
        return Allowance(left >= price, math.ceil((price - left) / self._rate), headers)


def require_file(path: Path | None) -> Path:
    """Return the configured file. Raises `OptionsInvalid` if none is configured."""
    if path is None:
        raise OptionsInvalid(
            "No API keys are configured.",
            remedy="Set STENOPOOL_API__KEYS (see `python -m stenopool.api.keys`), or use --no-auth on loopback.",
        )
    return path


def digest_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def line(name: str, scopes: str, key: str, *columns: str) -> str:
    """Format the file's line for a key. ``columns``: ``prefix=`` and ``until=``."""
    return " ".join((name, scopes, digest_of(key), *columns))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ObjectNotFound(
            f"Cannot read the key file {path}: {error.strerror}.",
            remedy="Create it (`python -m stenopool.api.keys NAME read,write >> FILE`), and set STENOPOOL_API__KEYS.",
        ) from error


def _parse(content: bytes, path: Path) -> list[Key]:
    """Parse the lines of a key file. Names and digests must be unique: the audit log names one holder."""
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise OptionsInvalid(f"{path} is not UTF-8 text.", remedy="Recreate it.") from None
    keys: list[Key] = []
    found: dict[tuple[str, str], int] = {}
    for number, text in enumerate(lines, 1):
        if not text.split("#")[0].strip():
            continue
        key = _key(text, f"{path}:{number}")
        for own in (("name", key.name), ("key", key.digest)):
            first = found.setdefault(own, number)
            if first != number:
                raise OptionsInvalid(
                    f"{path}:{number} has the same {own[0]} as line {first}.",
                    remedy="Use a different name and key on each line.",
                )
        keys.append(key)
    return keys


def _key(line: str, where: str) -> Key:
    # Messages never quote the line: it may contain the key.
    parts = line.split()
    name, scopes, digest = [*parts, "", "", ""][:3]
    granted, options = scopes.split(","), dict(column.partition("=")[::2] for column in parts[3:])
    if (
        find_unsafe(name)
        or not set(granted) <= set(SCOPES)
        or len(digest) != 64
        or set(digest) - set("0123456789abcdef")
        or set(options) - set(_COLUMNS)
        or len(options) != len(parts[3:])
    ):
        raise _invalid(f"{where}: expected a name, scopes ({', '.join(SCOPES)}), a SHA-256, [prefix=], [until=].")
    prefix = options.get("prefix", "")
    if "prefix" in options and not _is_folder(prefix):
        raise _invalid(f"{where}: prefix= must be a folder below the source, such as prefix=agency/.")
    if prefix and "admin" in granted:
        raise _invalid(f"{where}: the admin scope covers everything, so it cannot have a prefix=.")
    try:
        until = datetime.fromisoformat(options["until"]) if "until" in options else None
    except ValueError:
        raise _invalid(f"{where}: until= must be a date or a time, such as until=2027-01-01.") from None
    if until and until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return Key(name, frozenset(granted), digest, prefix, until)


def _is_folder(prefix: str) -> bool:
    """Whether recordings can have the prefix; listings skip hidden names."""
    try:
        check_key(f"{prefix}a")
    except KeyUnusable:
        return False
    hidden = prefix.startswith((".", "/")) or any(part in prefix for part in ("/.", "//", "\\"))
    return prefix.endswith("/") and not hidden and find_unsafe(prefix) is None


def _invalid(message: str) -> OptionsInvalid:
    return OptionsInvalid(message, remedy="`python -m stenopool.api.keys NAME read,write` prints a valid line.")


def _describe_change(before: Iterable[Key], after: Iterable[Key]) -> str:
    old, new = ({key.name: key for key in keys} for keys in (before, after))
    changes = {
        "added": [name for name in new if name not in old],
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "removed": [name for name in old if name not in new],
    }
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in changes.items() if names) or "no key changed"


def main() -> None:
    """``python -m stenopool.api.keys NAME SCOPES [prefix=FOLDER/] [until=DATE]``.

    Prints the key to stderr, and its line for the key file to stdout.
    """
    if len(sys.argv) < 3:
        sys.exit(f"Usage: python -m stenopool.api.keys NAME {','.join(SCOPES)} [prefix=FOLDER/] [until=DATE] >> FILE")
    name, scopes, *columns = sys.argv[1:]
    key = f"steno_{secrets.token_urlsafe(32)}"
    text = line(name, scopes, key, *columns)
    try:
        _key(text, "This")
    except OptionsInvalid as error:
        sys.exit(str(error))
    sys.stdout.write(f"{text}\n")
    sys.stderr.write(f"Key (shown only once): {key}\n")


if __name__ == "__main__":
    main()
