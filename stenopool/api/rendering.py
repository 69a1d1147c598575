"""Renders a transcript in a separate process: ``python -m stenopool.api.rendering < order and transcript > file``.

Reading and rendering twelve hours takes seconds, in which the API could not respond, because Python runs one thread
at a time. This module imports neither Prefect nor the web framework, so the process starts in a quarter of a second.
"""

import json
import sys
from typing import IO, Any, Literal, cast

from pydantic import BaseModel

from stenopool.api.openai_formats import ResponseFormat, format_deltas, format_done, format_transcript
from stenopool.api.schema import Described
from stenopool.api.transcript_views import make_view
from stenopool.options import Format, SubtitleOptions
from stenopool.pipeline import speaker_names
from stenopool.speech.renderers import render
from stenopool.speech.transcript import Transcript

Product = Literal["file", "view", "speakers", "openai", "deltas", "done"]


class Order(BaseModel, frozen=True):
    """What to make from a transcript: a file, the page's view, its speakers, or a response in OpenAI's shape.

    deltas and done are the events of OpenAI's streams, for the segments and for the end.
    """

    product: Product
    id: str
    """The recording's id."""
    key: str
    """The recording's key."""
    format: Format | ResponseFormat = "json"
    """Format of a file or of OpenAI's response."""
    subtitles: SubtitleOptions = SubtitleOptions()
    """Style of srt and vtt."""
    granularities: tuple[str, ...] = ()
    """What OpenAI's verbose_json contains: words, segments."""
    after: int = 0
    """How many segments of a stream were sent before."""
    logprobs: bool = False
    """Whether OpenAI's json and events contain log probabilities."""


class Extras(BaseModel, frozen=True):
    """What is stored beside the transcript."""

    names: str | None = None
    """Content of the file with the speakers' names."""
    audio: str | None = None
    """The audio that its page plays."""


class Speakers(Described):
    """The speakers of a transcript."""

    names: dict[str, str | None]
    """Names by the label from diarization; null for a speaker without a name."""
    fingerprint: str
    """Identifies the transcript that the labels belong to; other options give other labels."""


def produce(order: Order, extras: Extras, content: bytes) -> bytes:
    """Make the product from the transcript's JSON."""
    transcript = Transcript.model_validate_json(content)
    names = speaker_names.parse(extras.names, transcript)
    if order.product == "speakers":
        found = {label: names.get(label) for label in speaker_names.list_labels(transcript)}
        fingerprint = speaker_names.fingerprint_of(transcript)
        return Speakers(names=found, fingerprint=fingerprint).model_dump_json().encode()
    if order.product == "view":
        return make_view(order.id, order.key, transcript, names).model_dump_json().encode()
    named = speaker_names.apply_names(transcript, names)
    if order.product == "deltas":
        speakers = order.format == "diarized_json"
        return "".join(format_deltas(named, after=order.after, logprobs=order.logprobs, speakers=speakers)).encode()
    if order.product == "done":
        return format_done(named, logprobs=order.logprobs).encode()
    if order.product == "openai":
        wanted = cast("ResponseFormat", order.format)
        body: str | dict[str, Any] = format_transcript(
            named, wanted, order.granularities, order.subtitles, logprobs=order.logprobs
        )
        return (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()
    return render(named, cast("Format", order.format), order.subtitles, title=order.key, audio=extras.audio).encode()


def write_request(order: Order, extras: Extras) -> bytes:
    """Return what `answer` reads before the transcript. It is not passed in arguments, which other users can see."""
    return f"{order.model_dump_json()}\n{extras.model_dump_json()}\n".encode()


def answer(request: IO[bytes], target: IO[bytes]) -> None:
    """Read an order, the extras and the transcript; write the product."""
    order = Order.model_validate_json(request.readline())
    extras = Extras.model_validate_json(request.readline())
    target.write(produce(order, extras, request.read()))
    target.flush()


def main() -> None:
    """Run the process. On an error it prints only the type: the text may quote the transcript."""
    try:
        answer(sys.stdin.buffer, sys.stdout.buffer)
    except Exception as error:
        sys.exit(f"A transcript could not be rendered: {type(error).__name__}.")


if __name__ == "__main__":
    main()
