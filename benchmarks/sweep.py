"""Speed and accuracy of the pooled engine's settings, one changed at a time.

    uv run python benchmarks/sweep.py [--kinds en_short,long] [--points speech,span,tail] [--rounds 3]

The default engine on prepared audio, Whisper base, language detection, beam 5. Settings that are constants of a module
are patched there by name; the engine has no code for this. One value is changed at a time, because the settings hardly
depend on each other. The chosen value is measured once per round and is in every table. Every round measures all
values; a speed is the median over rounds.

* speech: most speech decoded at once, seconds (and so where recordings are cut)
* span: longest window with the pauses in it, seconds
* tail: room after the speech, seconds
* step: frames are multiples of this many seconds; windows with equal frames are decoded together
* batch: windows decoded together by one worker
* workers: CTranslate2 workers x threads of each
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from benchmarks.compare.wer import wer
from benchmarks.speech_set import SPEECH, SpeechSet
from stenopool.errors import Failure
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.engines import faster_whisper, policy
from stenopool.speech.engines.base import Utterance

OPTIONS = TranscriptionOptions(diarization="off")
CHOSEN = "chosen"
Value = float | str


@dataclass(frozen=True)
class Setting:
    """One setting, with the others at their defaults. ``value``: CHOSEN for the default."""

    point: str
    value: Value


VALUES: dict[str, tuple[Value, ...]] = {
    "speech": (8.0, 10.0, 12.0, 13.0, 14.0, 16.0, 20.0, 25.0),
    "span": (13.0, 16.0, 20.0, 25.0),
    "tail": (2.0, 3.0, 4.0, 5.0, 6.0, 8.0),
    "step": (0.5, 1.0, 2.0, 3.0, 5.0),
    "batch": (1, 2, 3, 4, 6, 8, 16),
    "workers": ("1x1", "1x2", "2x1", "2x2", "3x1", "4x1"),
}


def chosen() -> dict[str, Value]:
    """The engine's settings on this machine."""
    engine = _engine(None, 0)
    return {
        "speech": policy.SPEECH_SECONDS,
        "span": policy.SPAN_SECONDS,
        "tail": policy.TAIL_SECONDS,
        "step": policy.FRAME_STEP,
        "batch": engine.most_windows(30.0),
        "workers": f"{engine._workers}x{engine._threads}",
    }


@contextmanager
def engine_at(setting: Setting) -> Iterator[faster_whisper.FasterWhisperEngine]:
    """Load the engine with one setting changed."""
    constants: list[tuple[Any, str]] = {
        "speech": [(policy, "SPEECH_SECONDS")],
        "span": [(policy, "SPAN_SECONDS")],
        "tail": [(policy, "TAIL_SECONDS")],
        "step": [(policy, "FRAME_STEP")],
    }.get(setting.point, [])
    with ExitStack() as stack:
        for module, name in constants:
            stack.enter_context(patch.object(module, name, setting.value))
        workers = str(setting.value) if setting.point == "workers" else None
        yield _engine(workers, int(setting.value) if setting.point == "batch" else 0)


def _engine(workers: str | None, batch: int) -> faster_whisper.FasterWhisperEngine:
    engine = faster_whisper.FasterWhisperEngine(OPTIONS.model, ExecutionOptions(device="cpu", batch_size=batch))
    if workers:
        engine._workers, engine._threads = map(int, workers.split("x"))
    return engine


@lru_cache(maxsize=1)
def _loaded(workers: int, threads: int) -> Any:
    """The model, shared by engines that are otherwise equal."""
    engine = _engine(f"{workers}x{threads}", 0)
    engine.load()
    return engine._loaded


@dataclass
class Point:
    """The results of one setting on one kind, by round. WER in per cent; the texts of all rounds are equal."""

    speeds: list[float] = field(default_factory=list)
    wer: float = 0.0
    failed: int = 0


def measure(setting: Setting, batch: Sequence[Utterance], said: dict[str, str], point: Point, warm: Utterance) -> None:
    """One round of one setting. ``warm`` is transcribed untimed first."""
    with engine_at(setting) as engine:
        engine._loaded = _loaded(engine._workers, engine._threads)
        list(engine.transcribe([warm], OPTIONS))
        begin = time.perf_counter()
        answers = list(engine.transcribe(batch, OPTIONS))
        seconds = time.perf_counter() - begin
    heard = {u.id: "" if isinstance(answer, Failure) else answer.text for u, answer in answers}
    point.speeds.append(sum(u.waveform.duration for u in batch) / seconds)
    point.wer = 100 * wer([(text, heard[name]) for name, text in said.items()])
    point.failed = sum(isinstance(answer, Failure) for _, answer in answers)


def settings(points: Sequence[str], at: dict[str, Value]) -> list[Setting]:
    """The measurements of a round: the defaults, then every other value, with as few model changes as possible."""
    others = [Setting(name, v) for name in points for v in VALUES[name] if v != at[name]]
    return [Setting(CHOSEN, CHOSEN), *sorted(others, key=lambda one: one.point == "workers")]


def tables(results: dict[tuple[str, Setting], Point], points: Sequence[str], at: dict[str, Value]) -> Iterator[Table]:
    """A table per setting: its values in order, the default marked, speed and WER for each kind."""
    kinds = list(dict.fromkeys(kind for kind, _ in results))
    for name in points:
        table = Table(name, *(f"{kind}, {what}" for kind in kinds for what in ("speed", "WER")), title_justify="left")
        values = sorted({*VALUES[name], at[name]})
        for value in values:
            is_chosen = value == at[name]
            setting = Setting(CHOSEN, CHOSEN) if is_chosen else Setting(name, value)
            cells = [cell for kind in kinds for cell in _cells(results[kind, setting])]
            table.add_row(f"{value}{' (chosen)' if is_chosen else ''}", *cells, style="bold" if is_chosen else None)
        yield table


def _cells(point: Point) -> tuple[str, str]:
    speeds = sorted(point.speeds)
    spread = f" ({speeds[0]:.1f} to {speeds[-1]:.1f})" if len(speeds) > 1 else ""
    failed = f", {point.failed} failed" if point.failed else ""
    return f"{statistics.median(speeds):.1f}{spread}", f"{point.wer:.2f} %{failed}"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with manifest.json")
    parser.add_argument("--kinds", type=_names(None), default=["en_short", "long"], help="comma-separated")
    parser.add_argument("--points", type=_names(VALUES), default=list(VALUES), help="comma-separated")
    parser.add_argument("--count", type=int, help="maximum number of recordings of each kind")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    arguments = parser.parse_args()
    at = chosen()
    results: defaultdict[tuple[str, Setting], Point] = defaultdict(Point)
    err = Console(stderr=True)
    with tempfile.TemporaryDirectory() as scratch:
        speech = SpeechSet(arguments.speech, Path(scratch))
        batches = {}
        for kind in arguments.kinds:
            items = speech.of(kind)[: arguments.count]
            batches[kind] = list(speech.utterances(items, OPTIONS)), {i.file: i.text for i in items if i.text}
        warm = min((u for batch, _ in batches.values() for u in batch), key=lambda u: u.waveform.duration)
        for number in range(arguments.rounds):
            for setting in settings(arguments.points, at):
                err.print(f"round {number + 1}: {setting.point} {setting.value}", highlight=False)
                for kind, (batch, said) in batches.items():
                    measure(setting, batch, said, results[kind, setting], warm)
    print(f"Chosen: {', '.join(f'{name} {value}' for name, value in at.items())}. {arguments.rounds} rounds.")
    print(f"{os.cpu_count()} cores, load average at the end {os.getloadavg()[0]:.1f}")
    console = Console(width=None if Console().is_terminal else 120)
    for table in tables(results, arguments.points, at):
        console.print(table)
    if arguments.json:
        rows = [
            {"kind": kind, "point": s.point, "value": s.value, "speeds": p.speeds, "wer": p.wer, "failed": p.failed}
            for (kind, s), p in results.items()
        ]
        arguments.json.write_text(json.dumps({"chosen": at, "points": rows}, indent=1) + "\n", encoding="utf-8")


def _names(known: Any) -> Callable[[str], list[str]]:
    def parse(value: str) -> list[str]:
        asked = [each for each in value.split(",") if each]
        if known is not None and (unknown := [each for each in asked if each not in known]):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)} not among {', '.join(known)}")
        return asked

    return parse


if __name__ == "__main__":
    main()
