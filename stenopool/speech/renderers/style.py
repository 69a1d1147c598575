"""How the files look: choices of a reader's taste, outside the fingerprint."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RenderStyle(BaseModel):
    """Choices for the renderers. The names of the subtitle options are openai-whisper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_line_width: Annotated[int, Field(ge=1, description="Most characters in a subtitle line, label included.")] = 42
    max_line_count: Annotated[int, Field(ge=1, description="Most lines in a subtitle.")] = 2
    max_words_per_line: Annotated[int | None, Field(ge=1, description="Most words in a subtitle line.")] = None
    highlight_words: Annotated[bool, Field(description="Underline each word in subtitles as it is spoken.")] = False
    audio: Annotated[
        str | None, Field(description="Where the page finds the recording: a relative or absolute URL, or a data: URI.")
    ] = None
    title: Annotated[str | None, Field(description="Heading of the page; else the name of the recording.")] = None
