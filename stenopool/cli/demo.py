"""``stenopool demo``: real speech in, every output out, with nothing but what the package registry gave."""

from importlib.util import find_spec
from pathlib import Path
from shutil import copyfile
from typing import Annotated

import typer

from stenopool import extras
from stenopool.cli.console import out, print_line
from stenopool.cli.ingest import ingest, print_reports
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.receipts import output_key
from stenopool.speech.renderers.terminal import print_transcript
from stenopool.speech.transcript import Transcript

_KEY = "call.wav"


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where the demo's files go.")] = Path(
        "stenopool-demo"
    ),
) -> None:
    """Transcribe a telephone call of two speakers that ships with an installed package.

    Example: stenopool demo ./stenopool-demo
    """
    recordings, transcripts = folder / "recordings", folder / "transcripts"
    recordings.mkdir(parents=True, exist_ok=True)
    if not (recordings / _KEY).exists():
        copyfile(_find_sample(), recordings / _KEY)
    report = ingest(
        str(recordings), str(transcripts), TranscriptionOptions(), ExecutionOptions(), Selection(only=(_KEY,))
    )
    transcript = transcripts / output_key(_KEY, "json")
    if transcript.exists():
        print_transcript(Transcript.model_validate_json(transcript.read_bytes()), out)
        print_line(f"\nOpen {transcript.with_suffix('.html').resolve()} in a browser.")
        print_line("All files: " + ", ".join(sorted(path.name for path in transcript.parent.iterdir())))
    print_reports(report, as_json=False)


def _find_sample() -> Path:
    """30 seconds of a call between two people: the sample that pyannote.audio carries (not imported: it is slow)."""
    spec = find_spec("pyannote")
    for root in spec.submodule_search_locations or () if spec else ():
        sample = Path(root) / "audio" / "sample" / "sample.wav"
        if sample.exists():
            return sample
    raise extras.missing_extra("The demo's telephone call", "pyannote-audio", "diarization")
