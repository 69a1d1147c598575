"""Finished transcripts, in any format."""

import asyncio
import tempfile
from pathlib import Path

from api import states
from api.problems import Problem
from api.service import Service
from stenopool.errors import ErrorCode, SetupError
from stenopool.options import Format
from stenopool.receipts import output_key
from stenopool.renderers import RenderStyle, render
from stenopool.settings import get_settings
from stenopool.transcript import Transcript


async def fetched(house: Service, key: str, format: Format) -> Path:
    """A transcript as a temporary file, which is the caller's to remove. A format that was not written is rendered.

    The problem 404 if there is no such recording, 409 while it has no transcript.
    """
    state = await states.one(house, key)
    if not await _is_done(house, key):
        remedy = state.failure.remedy if state.failure else f"GET /v1/recordings/{state.id} says when it is completed."
        raise Problem(409, "NOT_COMPLETED", f"The recording has no transcript: it is {state.state}.", remedy)
    return await asyncio.to_thread(_fetch, house, key, format)


async def read(house: Service, key: str) -> Transcript:
    """A finished recording's transcript."""
    return Transcript.model_validate_json(await asyncio.to_thread(house.destination.get_bytes, output_key(key, "json")))


async def _is_done(house: Service, key: str) -> bool:
    """While it is transcribed anew, there still is the transcript that it had."""
    return any(name.status == "done" for name in await house.receipts_of(key))


def _fetch(house: Service, key: str, format: Format) -> Path:
    folder = get_settings().scratch.dir
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix="stenopool-transcript-", dir=folder, delete=False) as file:
        path = Path(file.name)
    try:
        _into(path, house, key, format)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _into(path: Path, house: Service, key: str, format: Format) -> None:
    try:
        house.destination.get_file(output_key(key, format), path)
    except SetupError as error:
        if error.code is not ErrorCode.OBJECT_NOT_FOUND or format == "json":
            raise
        transcript = Transcript.model_validate_json(house.destination.get_bytes(output_key(key, "json")))
        path.write_text(render(transcript, format, RenderStyle(title=key)), encoding="utf-8")
