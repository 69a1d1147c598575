"""How the files look: choices of a reader's taste, outside the fingerprint."""

from typing import Annotated, Self

from pydantic import Field

from stenopool.options import SubtitleOptions


class RenderStyle(SubtitleOptions):
    """Choices for the renderers: of subtitles, and of the page."""

    audio: Annotated[
        str | None, Field(description="Where the page finds the recording: a relative or absolute URL, or a data: URI.")
    ] = None
    title: Annotated[str | None, Field(description="Heading of the page; else the name of the recording.")] = None

    @classmethod
    def of(cls, subtitles: SubtitleOptions, *, title: str | None = None, audio: str | None = None) -> Self:
        """The style of subtitles, which may be part of larger options, with a page's heading and sound."""
        chosen = subtitles.model_dump(include={*SubtitleOptions.model_fields})
        return cls(**chosen, title=title, audio=audio)
