"""The page's files. They contain no data, so they need no key; the requests that they send do."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from stenopool.api.headers import is_known
from stenopool.api.problems import Problem
from stenopool.speech.renderers.view import HERE as RENDERERS

router = APIRouter(include_in_schema=False)

_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Shared with HTML transcripts, so that the page shows and plays a transcript in the same way.
_SHARED = {name: RENDERERS / name for name in ("reader.js", "transcript.css")}
_FILES = {
    **{path.relative_to(_STATIC).as_posix(): path for path in _STATIC.rglob("*") if path.suffix in _TYPES},
    **_SHARED,
}
_HEADERS = {
    # No inline code, nothing from other hosts, and no markup from text.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # revalidated each time, usually with a 304
}


@router.get("/")
async def page(request: Request) -> Response:
    """Return the page, which loads everything else."""
    return await file(request, "index.html")


@router.get("/page/{name:path}")
async def file(request: Request, name: str) -> Response:
    """Return a script or style sheet of the page. Only known names are served, so no path leads outside."""
    path = _FILES.get(name)
    if path is None:
        raise Problem(404, "OBJECT_NOT_FOUND", "The page has no such file.", "Open / instead.")
    answer = FileResponse(path, media_type=_TYPES[path.suffix], headers=_HEADERS, stat_result=path.stat())
    if is_known(request.headers.get("if-none-match"), answer.headers["etag"]):
        return Response(status_code=304, headers={**_HEADERS, "ETag": answer.headers["etag"]})
    return answer
