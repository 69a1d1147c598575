"""Accuracy of the engines on real recordings, compared with targets and with libraries called directly.

    uv run python benchmarks/accuracy.py [--engines faster-whisper,whisper,whisperx] [--baselines] [--kinds long,stereo]

Whisper base on a CPU, with language detection (auto). Stenopool's engines process each kind of recording as one batch,
after `prepare_audio`. Baselines use the same files through faster-whisper's decoder and the same weights (int8, beam 5,
batches of 8). WER is pooled, with Whisper's English normalizer. Speed is audio seconds per second of recognition,
without decoding of files and loading of models.
"""

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.table import Table

from benchmarks.compare.baselines import BASELINES, BEAM, Setup
from benchmarks.compare.wer import wer
from benchmarks.speech_set import SPEECH, Item, SpeechSet
from stenopool.errors import Failure
from stenopool.options import EngineName, ExecutionOptions, TranscriptionOptions
from stenopool.speech import engines

MODEL = "base"
EXECUTION = ExecutionOptions(device="cpu")
BATCH = 8
ENGINES: tuple[EngineName, ...] = ("faster-whisper", "whisper", "whisperx")


@dataclass(frozen=True)
class Heard:
    """The texts recognized in one recording, by channel, or the ``error``."""

    item: Item
    texts: list[str]
    language: str | None = None
    error: str | None = None


@dataclass
class Answers:
    """The results of one system on one kind of recording. ``refused``: it does not support the request."""

    heard: list[Heard] = field(default_factory=list)
    audio: float = 0.0
    seconds: float = 0.0
    refused: str | None = None


# -- systems ----------------------------------------------------------------------------------------------------------


class System(Protocol):
    """Something that transcribes."""

    name: str

    def transcribe(self, items: Sequence[Item], asked: dict[str, str]) -> Answers:
        """``asked``: the fields of `TranscriptionOptions` to set for this measure."""
        ...


class Ours:
    """An engine of Stenopool, from files to results as `stenopool run` does it, without speakers."""

    def __init__(self, engine: EngineName, speech: SpeechSet) -> None:
        self.name = engine
        self.speech = speech
        self.engine = engines.create(engine, MODEL, EXECUTION)

    def transcribe(self, items: Sequence[Item], asked: dict[str, str]) -> Answers:
        try:
            options = TranscriptionOptions(engine=self.name, model=MODEL, beam_size=BEAM, diarization="off", **asked)
        except ValueError as error:
            return Answers(refused=str(error))
        batch = list(self.speech.utterances(items, options))
        self.engine.load()
        started = time.perf_counter()
        results = dict(self.engine.transcribe(batch, options))
        seconds = time.perf_counter() - started
        heard = [_heard(item, [results[u] for u in batch if u.id == item.file]) for item in items]
        return Answers(heard, sum(u.waveform.duration for u in batch if u.waveform.channel == 0), seconds)


def _heard(item: Item, results: Sequence[Any]) -> Heard:
    failed = next((result for result in results if isinstance(result, Failure)), None)
    if failed:
        return Heard(item, [""] * len(results), error=f"{failed.code}: {failed.message}")
    return Heard(item, [result.text for result in results], results[0].language)


class Baseline:
    """A library called directly, as its README shows, one file after another."""

    def __init__(self, name: str, library: str, speech: SpeechSet) -> None:
        self.name = name
        self.load = cache(lambda: BASELINES[library].load(Setup(MODEL, "cpu", "int8", BATCH)))
        self.speech = speech

    def transcribe(self, items: Sequence[Item], asked: dict[str, str]) -> Answers:
        from faster_whisper import decode_audio

        if asked.get("channels") == "split":
            return Answers(refused="mixes channels down")
        recognize = self.load()
        answers = Answers()
        for item in items:
            try:
                samples = decode_audio(str(self.speech.folder / item.file))
                started = time.perf_counter()
                heard = recognize(samples, several_languages=asked.get("language") == "per-segment")
            except NotImplementedError as error:
                return Answers(refused=str(error))
            except Exception as error:  # continue with the others after any error
                answers.heard.append(Heard(item, [""], error=f"{type(error).__name__}: {error}"))
                continue
            answers.seconds += time.perf_counter() - started
            answers.audio += len(samples) / 16_000
            answers.heard.append(Heard(item, [heard.text], heard.language))
        return answers


def baselines(speech: SpeechSet) -> list[System]:
    """The libraries for comparison."""
    return [
        Baseline("whisperX directly", "whisperx", speech),
        Baseline("faster-whisper directly", "faster-whisper", speech),
        Baseline("faster-whisper directly, batched", "faster-whisper-batched", speech),
    ]


# -- measures ---------------------------------------------------------------------------------------------------------


def _pairs(heard: Sequence[Heard]) -> list[tuple[str, str]]:
    """Pairs (reference, result) for recordings with a reference text, by channel if they were split."""
    return [
        pair
        for one in heard
        if one.item.text
        for pair in zip(one.item.channel_text if len(one.texts) > 1 else [one.item.text], one.texts, strict=True)
    ]


def word_errors(heard: Sequence[Heard]) -> float:
    """Pooled WER in per cent."""
    return 100 * wer(_pairs(heard))


def right_languages(heard: Sequence[Heard]) -> float:
    """Number of recordings with the correct language."""
    return sum(one.language == one.item.language for one in heard)


def empty(heard: Sequence[Heard]) -> float:
    """Number of recordings with an empty result and no error."""
    return sum(not "".join(one.texts) and not one.error for one in heard)


def close(heard: Sequence[Heard]) -> float:
    """Number of recordings with at most 5 % WER."""
    return sum(wer([pair]) <= 0.05 for pair in _pairs(heard))


@dataclass(frozen=True)
class Measure:
    """One row of the table. The target is a maximum for error rates and a minimum for counts."""

    title: str
    kind: str
    score: Callable[[Sequence[Heard]], float]
    target: float | None = None
    asked: tuple[tuple[str, str], ...] = ()

    @property
    def is_rate(self) -> bool:
        return self.score is word_errors

    def met(self, value: float) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return value <= self.target if self.is_rate else value >= self.target

    def shown(self, value: float) -> str:
        """A value, formatted."""
        return f"{value:.2f} %" if self.is_rate else f"{value:.0f}"

    @property
    def wanted(self) -> str:
        """The target, formatted."""
        return "" if self.target is None else f"{'≤' if self.is_rate else '≥'} {self.shown(self.target)}"


SPLIT, PER_SEGMENT = (("channels", "split"),), (("language", "per-segment"),)
MEASURES = (
    Measure("short English clips, WER", "en_short", word_errors, 9.5),
    Measure("short English clips, language right", "en_short", right_languages),
    Measure("long recordings, WER", "long", word_errors, 5.3),
    Measure("seven languages, language right", "lang_short", right_languages, 25),
    Measure("three languages in one recording, WER", "code_switch", word_errors, 18.0, PER_SEGMENT),
    Measure("no speech, empty result", "no_speech", empty, 7),
    Measure("file formats within 5 % WER", "format", close, 31),
    Measure("file formats, WER", "format", word_errors),
    Measure("one party per channel, split, WER", "stereo", word_errors, 10.0, SPLIT),
    Measure("one party per channel, mixed down, WER", "stereo", word_errors),
    Measure("degraded audio, WER", "degraded", word_errors),
    Measure("odd file names, WER", "name", word_errors),
    Measure("wrong extensions, WER", "wrong_extension", word_errors),
)
KINDS = tuple(dict.fromkeys(measure.kind for measure in MEASURES))
TIMED = ("en_short", "long")


# -- report -----------------------------------------------------------------------------------------------------------


class Report:
    """Measures of all systems; each system transcribes each kind of recording once per set of options."""

    def __init__(self, speech: SpeechSet, systems: Sequence[System], measures: Sequence[Measure]) -> None:
        self.speech = speech
        self.systems = systems
        self.measures = measures
        self.answers = cache(self._answers)

    def _answers(self, system: System, kind: str, asked: tuple[tuple[str, str], ...]) -> Answers:
        return system.transcribe(self.speech.of(kind), dict(asked))

    def figure(self, measure: Measure, system: System) -> dict[str, Any]:
        """One cell, with its inputs."""
        answers = self.answers(system, measure.kind, measure.asked)
        value = None if answers.refused else measure.score(answers.heard)
        return {
            "system": system.name,
            "measure": measure.title,
            "kind": measure.kind,
            "value": value,
            "of": len(answers.heard),
            "target": measure.target,
            "met": None if value is None else measure.met(value),
            "refused": answers.refused,
            "audio_seconds": round(answers.audio, 2),
            "seconds": round(answers.seconds, 2),
            "recordings": [
                {
                    "file": heard.item.file,
                    "language": heard.language,
                    "texts": heard.texts,
                    "wer": round(wer(pairs), 4) if (pairs := _pairs([heard])) else None,
                    "error": heard.error,
                }
                for heard in answers.heard
            ],
        }

    def table(self) -> Table:
        """All figures, followed by speeds."""
        table = Table("measure", "target of the default engine", title=f"Whisper {MODEL}, CPU, {os.cpu_count()} cores")
        for system in self.systems:
            table.add_column(system.name, justify="right")
        for measure in self.measures:
            cells = [self._cell(measure, system) for system in self.systems]
            table.add_row(measure.title, measure.wanted, *cells)
        table.add_section()
        for measure in self.measures:
            if measure.kind in TIMED and measure.is_rate:
                answers = [self.answers(system, measure.kind, measure.asked) for system in self.systems]
                speeds = [f"{each.audio / each.seconds:.1f}" for each in answers]
                table.add_row(f"{measure.title.removesuffix(', WER')}, audio seconds per second", "", *speeds)
        return table

    def _cell(self, measure: Measure, system: System) -> str:
        figure = self.figure(measure, system)
        if figure["refused"]:
            return "cannot"
        failed = sum(bool(each["error"]) for each in figure["recordings"])
        mark = {True: " [green]✓[/]", False: " [red]✗[/]", None: ""}[figure["met"]]
        of = "" if measure.is_rate else f" of {figure['of']}"
        return measure.shown(figure["value"]) + of + mark + (f" ({failed} failed)" if failed else "")


def main() -> None:
    """Measure, print, write."""
    arguments = _arguments()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        speech = SpeechSet(arguments.speech, Path(scratch))
        systems: list[System] = [Ours(engine, speech) for engine in arguments.engines]
        systems += baselines(speech) if arguments.baselines else []
        report = Report(speech, systems, [measure for measure in MEASURES if measure.kind in arguments.kinds])
        with Console(stderr=True).status("Listening") as status:
            for system in systems:
                for measure in report.measures:
                    status.update(f"{system.name}: {measure.title}")
                    report.figure(measure, system)
        Console(width=None if Console().is_terminal else 140).print(report.table())
        if arguments.json:
            figures = [report.figure(measure, system) for system in systems for measure in report.measures]
            arguments.json.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    def some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
        def parse(value: str) -> list[str]:
            asked = [each for each in value.split(",") if each]
            if unknown := [each for each in asked if each not in known]:
                raise argparse.ArgumentTypeError(f"{', '.join(unknown)} not among {', '.join(known)}")
            return asked

        return parse

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="folder with manifest.json")
    parser.add_argument("--engines", type=some_of(ENGINES), default=["faster-whisper"], help="comma-separated, or ''")
    parser.add_argument("--kinds", type=some_of(KINDS), default=list(KINDS), help="comma-separated")
    parser.add_argument("--baselines", action="store_true", help="whisperX and faster-whisper called directly, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and texts here")
    return parser.parse_args()


if __name__ == "__main__":
    main()
