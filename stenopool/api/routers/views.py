"""A finished recording to read and to listen to."""

from fastapi import APIRouter
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from stenopool.api import transcript_view
from stenopool.api.access import CanRead
from stenopool.api.ids import decode
from stenopool.api.service import CurrentService
from stenopool.api.transcript_view import TranscriptView

router = APIRouter(prefix="/v1/recordings", tags=["transcripts"])


@router.get("/{id}/view")
async def get_view(id: str, service: CurrentService, caller: CanRead) -> TranscriptView:  # noqa: ARG001
    """The transcript in paragraphs, with speakers, colours and a time for every word: what the page shows."""
    return await transcript_view.read_view(service, id, decode(id))


@router.get("/{id}/playback", response_class=FileResponse, responses={200: {"content": {"audio/*": {}}}})
async def get_playback(id: str, service: CurrentService, caller: CanRead) -> FileResponse:  # noqa: ARG001
    """The sound to the transcript's times. 404 where none was written with it: /audio is what was sent."""
    path, media_type = await transcript_view.fetch_playback(service, decode(id))
    return FileResponse(path, media_type=media_type, background=BackgroundTask(path.unlink, missing_ok=True))
