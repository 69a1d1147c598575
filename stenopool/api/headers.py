"""Parses request headers, and marks deprecated routes.

Types, units, hosts and preferences are case-insensitive in HTTP.
"""

import re
from collections.abc import Mapping
from typing import Any

from fastapi import Depends, Response

DEPRECATED_SINCE = "@1795996800"  # 30 November 2026, in the format of RFC 9745
FORM = "multipart/form-data"
_BYTE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.IGNORECASE)


def mark_deprecated(response: Response, successor: str) -> None:
    """Mark the request as deprecated in favour of another route; it is removed in 1.0 (RFC 9745, RFC 8288)."""
    response.headers["Deprecation"] = DEPRECATED_SINCE
    response.headers["Link"] = f'<{successor}>; rel="successor-version"'


def deprecated_for(successor: str) -> Any:
    """Dependency of a deprecated route."""

    async def mark(response: Response) -> None:
        mark_deprecated(response, successor)

    return Depends(mark)


def media_type(headers: Mapping[str, str]) -> str:
    """The body's media type in lower case, without parameters; empty if it is missing."""
    return _name(headers.get("content-type", ""))


def accepted_types(accept: str) -> list[str]:
    """The media types of an Accept header, best first, without those that are refused (q=0)."""
    ranked = sorted(accept.split(","), key=_quality, reverse=True)
    return [_name(each) for each in ranked if _quality(each) > 0]


def byte_range(value: str | None) -> tuple[str, str] | None:
    """The first and last byte as written, one of which may be empty; None for anything but a single range."""
    match = _BYTE_RANGE.fullmatch((value or "").replace(" ", ""))
    return (match[1], match[2]) if match and any(match.groups()) else None


def prefers(value: str | None, preference: str) -> bool:
    """Whether a Prefer header contains this preference."""
    return preference in map(_name, (value or "").split(","))


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether an If-None-Match header contains this entity tag, strong or weak."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag.removeprefix("W/") in tags or "*" in tags


def _name(value: str) -> str:
    return value.partition(";")[0].strip().lower()


def _quality(value: str) -> float:
    _, _, quality = value.replace(" ", "").lower().partition(";q=")
    try:
        return float(quality.partition(";")[0] or 1)
    except ValueError:
        return 0.0
