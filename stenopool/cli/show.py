"""``stenopool show``: a transcript in the terminal."""

from pathlib import Path
from typing import Annotated

import typer

from stenopool.cli.console import out
from stenopool.cli.parameters import with_options
from stenopool.options import Format, SubtitleOptions
from stenopool.orchestration.blocks.locations import open_location
from stenopool.pipeline import speaker_names
from stenopool.speech.renderers import render
from stenopool.speech.renderers.terminal import print_transcript
from stenopool.speech.transcript import Transcript


@with_options(subtitles=SubtitleOptions)
def show(
    transcript: Annotated[str, typer.Argument(help="A transcript.json, or the folder it is in, at any location.")],
    subtitles: SubtitleOptions,
    format: Annotated[Format | None, typer.Option(help="Print this format instead.")] = None,
) -> None:
    """Print a transcript, speakers in colour; or in a format, to write it again in another style.

    Example: stenopool show transcripts/call.wav --format srt --max-line-width 32
    """
    folder, _, name = transcript.rstrip("/").rpartition("/")
    if not name.endswith(".json"):
        folder, name = transcript, "transcript.json"
    store = open_location(folder or str(Path.cwd()), must_exist=True)
    found = Transcript.model_validate_json(store.get_bytes(name))
    named = speaker_names.apply_names(found, speaker_names.read(store, "", found))
    if format:
        print(render(named, format, subtitles), end="")
    else:
        print_transcript(named, out)
