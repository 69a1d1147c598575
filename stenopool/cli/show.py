"""``stenopool show``: a transcript in the terminal."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stenopool.orchestration.blocks.locations import open_location
from stenopool.pipeline import speaker_names
from stenopool.speech.renderers.terminal import show as render
from stenopool.speech.transcript import Transcript


def show(
    transcript: Annotated[str, typer.Argument(help="A transcript.json, or the folder it is in, at any location.")],
) -> None:
    """Print a transcript, speakers in colour.

    Example: stenopool show transcripts/call.wav
    """
    folder, _, name = transcript.rstrip("/").rpartition("/")
    if not name.endswith(".json"):
        folder, name = transcript, "transcript.json"
    store = open_location(folder or str(Path.cwd()), must_exist=True)
    found = Transcript.model_validate_json(store.get_bytes(name))
    render(speaker_names.apply_names(found, speaker_names.read(store, "", found)), Console())
