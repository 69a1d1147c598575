"""A recording's audio, whole or in ranges, for players."""

import mimetypes
from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse

from stenopool.api.access import CAN_READ
from stenopool.api.headers import byte_range
from stenopool.api.ids import decode
from stenopool.api.problems import Problem
from stenopool.api.service import CurrentService
from stenopool.storage import ObjectInfo

router = APIRouter(prefix="/v1/recordings", tags=["recordings"])

# A browser must never treat a recording as a page, whatever its name.
_KINDS = ("audio/", "video/")


@router.get(
    "/{id}/audio",
    response_class=Response,
    responses={200: {"content": {"audio/*": {}, "video/*": {}}}, 206: {"description": "The requested range."}},
    dependencies=[CAN_READ],
)
async def audio(
    id: str,
    service: CurrentService,
    range: Annotated[str | None, Header(description="bytes=FIRST-LAST: one range.")] = None,
) -> Response:
    """The recording as it was sent."""
    info = await service.head(decode(id))
    kind = mimetypes.guess_type(info.key)[0] or ""
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Type": kind if kind.startswith(_KINDS) else "application/octet-stream",
        "Content-Disposition": "inline",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    part = _part(range, info)
    if part is None:
        headers["Content-Length"] = str(info.size)
        return StreamingResponse(service.source.stream(info.key, etag=info.etag), headers=headers)
    first, last = part
    headers |= {"Content-Length": str(last - first + 1), "Content-Range": f"bytes {first}-{last}/{info.size}"}
    parts = service.source.stream(info.key, first=first, last=last, etag=info.etag)
    return StreamingResponse(parts, 206, headers)


def _part(asked: str | None, info: ObjectInfo) -> tuple[int, int] | None:
    """The first and the last byte requested; None for all, also if the header is unknown (RFC 9110, 14.2)."""
    written = byte_range(asked)
    if written is None:
        return None
    begin, end = written
    first, last = (int(begin), int(end or info.size - 1)) if begin else (info.size - int(end), info.size - 1)
    first, last = max(0, first), min(last, info.size - 1)
    if first > last:
        detail, remedy = "The recording does not have this range.", f"It has {info.size} bytes."
        raise Problem(416, "RANGE_NOT_SATISFIABLE", detail, remedy, {"Content-Range": f"bytes */{info.size}"})
    return first, last
