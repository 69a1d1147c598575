"""Finished transcripts: files in any format, the page's view, audio, and names of speakers.

Stored files are streamed from the store. Everything else is rendered once, and cached by the entity tags of its inputs.
"""

import asyncio
import base64
import os
import re
import subprocess
from contextlib import suppress
from functools import partial
from typing import IO, Any, NamedTuple

from stenopool import __version__
from stenopool.api import rendering, states
from stenopool.api.contents import ByteSource, Content, make_etag, require_match
from stenopool.api.ids import encode
from stenopool.api.problems import Problem, invalid, not_found
from stenopool.api.render_cache import Make, Rendered, open_unlinked
from stenopool.api.rendering import Extras, Order, Product, Speakers
from stenopool.api.service import Service
from stenopool.errors import ObjectNotFound
from stenopool.options import Format, SubtitleOptions
from stenopool.pipeline import speaker_names
from stenopool.pipeline.receipts import output_key
from stenopool.runtime.processes import python_command
from stenopool.speech.renderers import CONTENT_TYPES
from stenopool.speech.renderers.view import find_audio
from stenopool.storage import ObjectInfo, ObjectStore

_TRIES = 3
_EMBEDDED = re.compile(r"data:(audio/[\w.+-]+);base64,")
# The audio file beside a long recording's page: the current name, and that of earlier versions.
_BESIDE = {"audio.webm": "audio/webm", "audio.mp3": "audio/mpeg"}
# Transcripts up to this size (some 15 minutes) are rendered in this process, which blocks for a hundredth of a second.
_SMALL = 512 * 1024
_LONGEST = 120.0  # seconds that rendering may take
_ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")  # passed to a renderer: no secrets


class _Found(NamedTuple):
    """The inputs of a rendered transcript, as they were looked up."""

    transcript: ObjectInfo
    names: ObjectInfo | None
    page: ObjectInfo | None


async def require_transcript(service: Service, key: str) -> None:
    """Raises the problem 404 for an unknown recording, 409 for one without a transcript.

    While a recording is transcribed again, its earlier transcript remains.
    """
    state = await states.read_state(service, key)
    if not any(name.status == "done" for name in await service.receipts_of(key)):
        remedy = state.failure.remedy if state.failure else f"GET /v1/recordings/{state.id} shows when it is completed."
        raise Problem(409, "NOT_COMPLETED", f"The recording has no transcript: it is {state.state}.", remedy)


async def find_file(service: Service, key: str, format: Format, subtitles: SubtitleOptions | None = None) -> Content:
    """Return a transcript with its speakers' names.

    Stored files are returned unchanged. Other formats, and ``subtitles`` with another style, are rendered.
    """
    styled = subtitles is not None and format in ("srt", "vtt")
    if not styled and await _head(service, speaker_names.names_key(key)) is None:
        stored = await _head(service, output_key(key, format))
        if stored:
            return Content.of_object(service.destination, stored)
    return await find_product(service, key, "file", format=format, subtitles=subtitles or SubtitleOptions())


async def find_product(service: Service, key: str, product: Product, **wanted: Any) -> Content:
    """Return what can be rendered from a transcript; see `Order`."""
    order = _order(product, key, **wanted)
    return _rendered(service, order, await _find(service, key, page=order.format == "html"))


async def read(content: Content) -> bytes:
    """Read the whole content."""
    body = await content.open()
    return await asyncio.to_thread(lambda: b"".join(body.read(0, body.size - 1)))


def _order(product: Product, key: str, **wanted: Any) -> Order:
    return Order(product=product, id=encode(key), key=key, **wanted)


async def _find(service: Service, key: str, *, page: bool = False) -> _Found:
    transcript = await _head(service, output_key(key, "json"))
    if transcript is None:
        raise not_found("The transcript has been removed.")
    names = await _head(service, speaker_names.names_key(key))
    return _Found(transcript, names, await _head(service, output_key(key, "html")) if page else None)


def _rendered(service: Service, order: Order, found: _Found) -> Content:
    etag = make_etag(__version__, order.model_dump(mode="json"), *(info and info.etag for info in found))

    def make(file: IO[bytes]) -> str:
        _render(service.destination, order, found, file)
        return ""

    return _kept(service, etag, make)


def _kept(service: Service, etag: str, make: Make) -> Content:
    async def open() -> ByteSource:
        return await service.renders.get(etag, make)

    return Content(etag, open)


def _render(destination: ObjectStore, order: Order, found: _Found, file: IO[bytes]) -> None:
    """Render to a file. A long transcript is rendered in a separate process, which gets it as an unlinked file."""
    extras = Extras(
        names=_read_text(destination, found.names) if found.names else None,
        audio=find_audio(_read_text(destination, found.page)) if found.page else None,
    )
    with open_unlinked() as request:
        request.write(rendering.write_request(order, extras))
        request.writelines(destination.stream(found.transcript.key, etag=found.transcript.etag))
        request.seek(0)
        if found.transcript.size <= _SMALL:
            rendering.answer(request, file)
            return
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        command = python_command("stenopool.api.rendering")
        try:
            subprocess.run(command, stdin=request, stdout=file, env=environment, check=True, timeout=_LONGEST)
        except subprocess.SubprocessError as error:
            remedy, headers = "Try again; if it happens again, report it with the recording.", {"Retry-After": "5"}
            raise Problem(503, "RENDER_FAILED", "The transcript could not be rendered.", remedy, headers) from error


def _read_text(store: ObjectStore, info: ObjectInfo) -> str:
    return b"".join(store.stream(info.key, etag=info.etag)).decode("utf-8", "replace")


async def _head(service: Service, key: str) -> ObjectInfo | None:
    """Return the object in the destination, or None."""
    with suppress(ObjectNotFound):
        return await asyncio.to_thread(service.destination.head, key)
    return None


async def rename_speakers(
    service: Service, key: str, names: dict[str, str], if_match: str | None
) -> tuple[Speakers, str]:
    """Replace the names of all speakers; returns the speakers and their new entity tag.

    Raises the problem 412 if ``if_match`` does not contain the current tag, 422 for labels that the transcript does not
    have.
    """
    async with service.renaming(key):
        require_match(if_match, (await find_product(service, key, "speakers")).etag)
        # If a worker writes another transcript meanwhile, read that and write again.
        for _ in range(_TRIES):
            before = await _find(service, key)
            content = await read(_rendered(service, _order("speakers", key), before))
            speakers = Speakers.model_validate_json(content)
            if unknown := [label for label in names if label not in speakers.names]:
                raise invalid(f"The transcript has no speaker {unknown[0]!r}.", speakers=list(speakers.names))
            await asyncio.to_thread(speaker_names.write_for, service.destination, key, speakers.fingerprint, names)
            await _write_files(service, key)
            after = await _find(service, key)
            if after.transcript.etag == before.transcript.etag:
                named = speakers.model_copy(update={"names": {label: names.get(label) for label in speakers.names}})
                return named, _rendered(service, _order("speakers", key), after).etag
    raise Problem(
        409, "RECORDING_BUSY", "The recording is being transcribed again.", "Name its speakers when it is completed."
    )


async def _write_files(service: Service, key: str) -> None:
    """Write all formats except JSON, which stays as the worker wrote it: all others can be rendered from it."""
    listed = await service.receipts_of(key)
    for format in {format for name in listed for format in name.formats} - {"json"}:
        content = await read(await find_product(service, key, "file", format=format))
        put = partial(service.destination.put_bytes, content_type=CONTENT_TYPES[format])
        await asyncio.to_thread(put, output_key(key, format), content)


async def find_playback(service: Service, key: str) -> tuple[str, Content]:
    """Return the audio that was stored with the transcript, and its media type.

    Its times are the transcript's, and every browser plays it. It is in the HTML page of a short recording, and beside
    that of a long one. Raises the problem 404 if there is none.
    """
    page = await _head(service, output_key(key, "html"))
    if page:
        content = _kept(service, make_etag("playback", page.etag), partial(_extract, service.destination, page))
        inside = await content.open()
        if isinstance(inside, Rendered) and inside.media_type:
            return inside.media_type, content
    for name, media_type in _BESIDE.items():
        if beside := await _head(service, f"{key}/{name}"):
            return media_type, Content.of_object(service.destination, beside)
    raise not_found("No audio was stored with this transcript.")


def _extract(destination: ObjectStore, page: ObjectInfo, file: IO[bytes]) -> str:
    """Write the audio that a page contains to a file; returns its media type, which is empty if there is none."""
    plays = find_audio(_read_text(destination, page)) or ""
    inside = _EMBEDDED.match(plays)
    if inside is None:
        return ""
    file.write(base64.b64decode(plays[inside.end() :]))
    return inside.group(1)
