"""A finished recording to read and to listen to."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from api import views
from api.access import Reader
from api.ids import decode
from api.service import Service, service
from api.views import TranscriptView

router = APIRouter(prefix="/v1/recordings", tags=["transcripts"])
House = Annotated[Service, Depends(service)]


@router.get("/{id}/view")
async def get_view(id: str, house: House, caller: Reader) -> TranscriptView:  # noqa: ARG001
    """The transcript in paragraphs, with speakers, colours and a time for every word: what the page shows."""
    return await views.transcript_view(house, id, decode(id))


@router.get("/{id}/audio", response_class=FileResponse, responses={200: {"content": {"audio/mpeg": {}}}})
async def get_audio(id: str, house: House, caller: Reader) -> FileResponse:  # noqa: ARG001
    """Sound to the transcript, as MP3 where it was written with it, else the recording itself. Ranges are honoured."""
    key = decode(id)
    sound = await views.sound(house, key)
    name = quote(key.rpartition("/")[2])
    return FileResponse(
        sound.path,
        media_type=sound.media_type,
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
        background=BackgroundTask(sound.path.unlink, missing_ok=True),
    )
