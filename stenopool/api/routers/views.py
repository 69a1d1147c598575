"""A finished recording to read and to listen to."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from stenopool.api import views
from stenopool.api.access import Reader
from stenopool.api.ids import decode
from stenopool.api.service import Service, service
from stenopool.api.views import TranscriptView

router = APIRouter(prefix="/v1/recordings", tags=["transcripts"])
House = Annotated[Service, Depends(service)]


@router.get("/{id}/view")
async def get_view(id: str, house: House, caller: Reader) -> TranscriptView:  # noqa: ARG001
    """The transcript in paragraphs, with speakers, colours and a time for every word: what the page shows."""
    return await views.transcript_view(house, id, decode(id))


@router.get("/{id}/playback", response_class=FileResponse, responses={200: {"content": {"audio/*": {}}}})
async def get_playback(id: str, house: House, caller: Reader) -> FileResponse:  # noqa: ARG001
    """The sound to the transcript's times. 404 where none was written with it: /audio is what was sent."""
    path, media_type = await views.playback(house, decode(id))
    return FileResponse(path, media_type=media_type, background=BackgroundTask(path.unlink, missing_ok=True))
