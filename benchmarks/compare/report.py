"""The figures as Markdown: for a terminal, and as a report to keep."""

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.compare.figures import Figures, Measurement, Spread, steps
from benchmarks.compare.systems import DIARIZED, SystemName

TITLES: dict[SystemName, str] = {
    "ours": "**Stenopool, whole flow**",
    "engine": "**Stenopool's engine alone**",
    "engine-prepared": "**Stenopool's engine, decoded before**",
    "whisperx": "whisperX",
    "faster-whisper": "faster-whisper, sequential",
    "faster-whisper-batched": "faster-whisper, batched",
    "whisper": "openai-whisper",
    "ours-diarized": "**Stenopool, whole flow, with speakers**",
    "whisperx-diarized": "whisperX, then Stenopool's diarizer",
}
_MB = 1 << 20
_MOST_PROBLEMS = 30

METHOD = """\
Every system runs in a process of its own, one after the other, round after round; each round begins with another one.
All read the same files, hear ten seconds that nobody counts, and then the clock runs. Imports, the start of Prefect's
server and the loading of models lie before it and are stated apart.

* *Whole flow*: from the listing to the batch's report. Each recording is fetched, decoded (ffmpeg), normalized,
  transcribed with a time for every word, rendered in all seven formats, uploaded and receipted; Prefect included.
* *Engine alone*: our engine called in process, as the libraries are: each file decoded by our decoder and transcribed
  with times for its words; no Prefect, and nothing written. *Decoded before*: the same on 16 kHz FLAC.
* *whisperX, faster-whisper, openai-whisper*: called in process as their READMEs say, one file after the other: the file
  is read by their own decoder (whisperX and openai-whisper: the ffmpeg program; faster-whisper: PyAV) and transcribed,
  without times for words. The language is found out by every system itself.
* *With speakers*: after whisperX has heard a file, the diarizer that our flow uses hears it, decoded before.
* Speed: audio seconds per second, median (least to most) over rounds. Ratio: to the fastest of what people use today
  on the same recordings, formed within each round. WER: pooled, after Whisper's English normalizer.
* First result: seconds of the clock until the first recording's text (for the flow: its files and receipt) is there.
* Peak memory: resident, from a system's first import to its end, of its process and all that it started, Prefect's
  server left out. Pages that processes share count twice.
* Device busy: the share of the transcribing part in which our engine or diarizer computed.
"""


def markdown(figures: Figures, plots: Sequence[str] = ()) -> str:
    """The whole report. ``plots``: addresses of pictures, relative to it."""
    parts = ["# Benchmark", _made(figures), METHOD]
    parts += [f"![{name}]({name})" for name in plots]
    parts += [section for kind in figures.contents for section in _kind(figures, kind)]
    if figures.growth:
        kind = next(iter(figures.contents))
        parts += [
            "## Cost by number of recordings",
            f"Our flow on {kind}, repeated.",
            table(growth_rows(figures)),
        ]
    if figures.left_out:
        parts += ["## Left out", "Cannot be decoded:", _list(figures.left_out)]
    if figures.problems:
        parts += ["## Problems", _list(figures.problems)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def comparison(figures: Figures, kind: str) -> list[tuple[str, ...]]:
    """The rows of a kind's table, the head first."""
    head = ("system", "speed", "ratio", "WER", "peak memory", "first result", "start + load", "device busy")
    return [head, *(_row(figures, kind, system) for system in figures.systems(kind))]


def remarks(figures: Figures, kind: str) -> Iterator[str]:
    """What follows from a kind's table, in sentences."""
    for ours, diarized in (("ours", False), ("ours-diarized", True)):
        baseline = figures.fastest(kind, diarized=diarized)
        system: SystemName = "ours-diarized" if ours == "ours-diarized" else "ours"
        if baseline and (ratio := figures.ratio(kind, system, baseline)):
            yield f"{_plain(system)}: {_times(ratio)} × {_plain(baseline)}."
    if ratio := figures.ratio(kind, "ours", "engine"):
        yield f"Whole flow: {_times(ratio)} × the engine alone."


def growth_rows(figures: Figures) -> list[tuple[str, ...]]:
    """The rows of its table, the head first: seconds and memory by number of recordings, medians over rounds."""
    rows: list[tuple[str, ...]] = [("recordings", "seconds", "seconds per further recording", "peak memory")]
    for step in steps(figures.growth):
        peak = median(one.peak_memory for one in figures.growth if one.recordings == step.recordings)
        each = "" if step.per_recording is None else f"{step.per_recording:.3f}"
        rows.append((f"{step.recordings}", f"{step.seconds:.1f}", each, f"{peak / _MB:.0f} MB"))
    return rows


def table(rows: Sequence[tuple[str, ...]], others: str = "---:") -> str:
    """A Markdown table; the first row is its head, the first column stands left and the ``others`` right."""
    head, *body = rows
    rule = ("---", *[others] * (len(head) - 1))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))


def _made(figures: Figures) -> str:
    machine = figures.machine
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    facts = {
        "measured": f"{figures.measured_at:%d %B %Y, %H:%M} UTC",
        "command": f"`{figures.command}`",
        "commit": machine.commit or "not a checkout",
        "machine": f"{machine.processor}, {machine.cores} cores, {machine.memory / 1024**3:.0f} GiB, "
        f"{machine.gpu or 'no GPU'}",
        "system": machine.system,
        "versions": versions,
        "load average at the begin and at the end": f"{machine.load[0]:.1f}, {machine.load[1]:.1f}",
        "model": f"Whisper {figures.model}, {figures.compute_type} on {figures.device} (openai-whisper: "
        f"{'float16' if figures.device == 'cuda' else 'float32'}), beam {figures.beam}; "
        f"libraries' batches of {figures.batch}",
        "rounds": f"{figures.rounds}",
    }
    return table([("", ""), *facts.items()], others="---")


def _kind(figures: Figures, kind: str) -> Iterator[str]:
    if not figures.systems(kind):
        return
    contents = figures.contents[kind]
    yield f"## {kind}"
    yield (
        f"{contents.recordings} recordings, {contents.audio_seconds / 60:.1f} minutes of audio; "
        f"the text of {contents.said} is known."
    )
    yield table(comparison(figures, kind))
    if said := list(remarks(figures, kind)):
        yield _list(said)


def _row(figures: Figures, kind: str, system: SystemName) -> tuple[str, ...]:
    rounds = figures.of(kind, system)
    baseline = figures.fastest(kind, diarized=system in DIARIZED)
    ratio = figures.ratio(kind, system, baseline) if baseline else None
    return (
        TITLES[system] + _failed(rounds),
        _times(Spread.of(one.speed for one in rounds), 1),
        "1" if system == baseline else _times(ratio),
        _shown([100 * one.wer for one in rounds if one.wer is not None], "{:.2f} %"),
        _shown([one.peak_memory / _MB for one in rounds], "{:.0f} MB"),
        _shown([one.first_result for one in rounds if one.first_result is not None], "{:.1f} s"),
        f"{_shown([one.start_seconds for one in rounds], '{:.1f}')} + "
        f"{_shown([one.load_seconds for one in rounds], '{:.1f} s')}",
        _shown([100 * one.busy for one in rounds if one.busy is not None], "{:.0f} %"),
    )


def _failed(rounds: Sequence[Measurement]) -> str:
    most = max(one.failed for one in rounds)
    return f" ({most} failed)" if most else ""


def _times(spread: Spread | None, digits: int = 2) -> str:
    if spread is None:
        return ""
    middle, least, most = (f"{value:.{digits}f}" for value in spread)
    return middle if least == most else f"{middle} ({least} to {most})"


def _shown(values: Sequence[float], form: str) -> str:
    return form.format(median(values)) if values else ""


def _plain(system: SystemName) -> str:
    return TITLES[system].strip("*")


def _list(lines: Sequence[str]) -> str:
    shown = [f"* {line}" for line in lines[:_MOST_PROBLEMS]]
    more = [f"* and {len(lines) - _MOST_PROBLEMS} more"] if len(lines) > _MOST_PROBLEMS else []
    return "\n".join([*shown, *more])
