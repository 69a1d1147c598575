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
Each system runs in its own process, one system after another. The order changes from round to round. All systems read
the same files. Before the timed part, each one imports its libraries, starts what it needs (Stenopool: Prefect's
server), loads its models and transcribes ten seconds of audio; this time is listed separately.

* *Whole flow*: from listing the source to the batch report. Each recording is fetched, decoded (ffmpeg), normalized,
  transcribed with word timestamps, rendered in all seven formats, uploaded and given a receipt. Prefect is included.
* *Engine alone*: Stenopool's engine, called in process like the libraries. It decodes each file with Stenopool's
  decoder and transcribes it with word timestamps, without Prefect and without writing files. *Decoded before*: the
  same, from 16 kHz FLAC.
* *whisperX, faster-whisper, openai-whisper*: called in process as their READMEs show, one file after another, without
  word timestamps. Each uses its own decoder (whisperX and openai-whisper: the ffmpeg program; faster-whisper: PyAV) and
  detects the language.
* *With speakers*: whisperX transcribes a file, then Stenopool's diarizer processes it, already decoded.
* Speed: seconds of audio per second, median (minimum to maximum) over rounds. Ratio: to the fastest other system on the
  same recordings, computed within each round. WER: pooled, after Whisper's English normalizer.
* First result: seconds until the text of the first recording is available (whole flow: its files and receipt).
* Peak memory: resident memory from a system's first import to its end, of its process and all child processes except
  Prefect's server. Shared pages count twice.
* Device busy: the share of the transcription time in which Stenopool's engine or diarizer was computing.
"""


def markdown(figures: Figures, plots: Sequence[str] = ()) -> str:
    """The whole report. ``plots``: paths of pictures, relative to the report."""
    parts = ["# Benchmark", _made(figures), METHOD]
    parts += [f"![{name}]({name})" for name in plots]
    parts += [section for kind in figures.contents for section in _kind(figures, kind)]
    if figures.growth:
        kind = next(iter(figures.contents))
        parts += [
            "## Cost by number of recordings",
            f"The whole flow on {kind}, repeated.",
            table(growth_rows(figures)),
        ]
    if figures.left_out:
        parts += ["## Left out", "Cannot be decoded:", _list(figures.left_out)]
    if figures.problems:
        parts += ["## Problems", _list(figures.problems)]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def comparison(figures: Figures, kind: str) -> list[tuple[str, ...]]:
    """The rows of the table of a kind, header first."""
    head = ("system", "speed", "ratio", "WER", "peak memory", "first result", "start + load", "device busy")
    return [head, *(_row(figures, kind, system) for system in figures.systems(kind))]


def remarks(figures: Figures, kind: str) -> Iterator[str]:
    """Conclusions from the table of a kind, in sentences."""
    for ours, diarized in (("ours", False), ("ours-diarized", True)):
        baseline = figures.fastest(kind, diarized=diarized)
        system: SystemName = "ours-diarized" if ours == "ours-diarized" else "ours"
        if baseline and (ratio := figures.ratio(kind, system, baseline)):
            yield f"{_plain(system)}: {_times(ratio)} × {_plain(baseline)}."
    if ratio := figures.ratio(kind, "ours", "engine"):
        yield f"Whole flow: {_times(ratio)} × the engine alone."


def growth_rows(figures: Figures) -> list[tuple[str, ...]]:
    """The rows of the growth table, header first: seconds and memory by number of recordings, medians over rounds."""
    rows: list[tuple[str, ...]] = [("recordings", "seconds", "seconds per additional recording", "peak memory")]
    for step in steps(figures.growth):
        peak = median(one.peak_memory for one in figures.growth if one.recordings == step.recordings)
        each = "" if step.per_recording is None else f"{step.per_recording:.3f}"
        rows.append((f"{step.recordings}", f"{step.seconds:.1f}", each, f"{peak / _MB:.0f} MB"))
    return rows


def table(rows: Sequence[tuple[str, ...]], others: str = "---:") -> str:
    """A Markdown table. The first row is the header; the first column is aligned left, the ``others`` right."""
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
        "load average at start and end": f"{machine.load[0]:.1f}, {machine.load[1]:.1f}",
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
        f"{contents.said} have a reference text."
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
