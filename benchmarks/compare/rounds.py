"""The rounds: each system in its own process, one after another."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.compare import wer
from benchmarks.compare.baselines import BASELINES, BEAM
from benchmarks.compare.child import Answer
from benchmarks.compare.figures import Contents, Figures, Growth, Measurement
from benchmarks.compare.machine import machine
from benchmarks.compare.memory import Watch
from benchmarks.compare.recordings import Corpus, Item
from benchmarks.compare.systems import DIARIZED, OURS, Hearing, Job, SystemName
from stenopool import extras, models
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech import diarizers, engines
from stenopool.speech.devices import choose_placement

_CURVE = 40  # points of memory over recordings done
Say = Callable[[str], None]


def check(systems: Sequence[SystemName], model: str, execution: ExecutionOptions) -> None:
    """Check that all systems can run, before the first one starts. Raises `SetupError`."""
    for system in systems:
        if system in DIARIZED:
            diarizers.check(TranscriptionOptions(model=model), execution)
        if system in OURS:
            engines.check(TranscriptionOptions(model=model, diarization="off"), execution)
            continue
        library = BASELINES[system.removesuffix("-diarized")]
        extras.require(system, library.package, extra=library.extra, alternative="leave it out of --systems")
        models.find(model, "openai" if system == "whisper" else "ctranslate2")


class Bench:
    """One call of `python -m benchmarks.compare`: the recordings, the settings, and the figures so far."""

    def __init__(
        self, corpus: Corpus, *, model: str, execution: ExecutionOptions, rounds: int, command: str, say: Say
    ) -> None:
        self.corpus = corpus
        self.execution = execution
        self.say = say
        device, compute_type = choose_placement(execution)
        self.figures = Figures(
            measured_at=datetime.now(UTC),
            command=command,
            machine=machine(),
            model=model,
            device=device,
            compute_type=compute_type,
            beam=BEAM,
            batch=execution.batch_size or (8 if device == "cpu" else 16),
            rounds=rounds,
            contents={
                kind: Contents(
                    recordings=len(items),
                    audio_seconds=corpus.seconds[kind],
                    said=sum(bool(item.text) for item in items.values()),
                )
                for kind, items in corpus.items.items()
            },
            left_out=corpus.left_out,
        )
        self._before = os.getloadavg()[0]

    def compare(self, systems: Sequence[SystemName]) -> None:
        """Run every system on every kind, in rounds; each round starts with another system."""
        for number in range(self.figures.rounds):
            first = number % len(systems)
            for system in (*systems[first:], *systems[:first]):
                self.say(f"round {number + 1} of {self.figures.rounds}: {system}")
                if measured := self._run(system, list(self.corpus.items)):
                    self.figures.measurements += self._measurements(system, number, *measured)
        # In the requested order, regardless of the order in a round.
        self.figures.measurements.sort(key=lambda one: (systems.index(one.system), one.round))
        self._note_load()

    def grow(self, counts: Sequence[int]) -> None:
        """Run the whole flow on increasing numbers of recordings of the first kind."""
        kind = next(iter(self.corpus.items))
        names = {count: f"{kind}-{count}" for count in sorted(counts)}
        for count, name in names.items():
            self.corpus.add(name, kind, count)
        for number in range(self.figures.rounds):
            for count, name in names.items():
                self.say(f"round {number + 1} of {self.figures.rounds}: {count} recordings")
                if measured := self._run("ours", [name]):
                    answer, watch = measured
                    self.figures.growth.append(self._growth(count, number, answer.hearings[name], name, watch))
        self._note_load()

    def _run(self, system: SystemName, kinds: list[str]) -> tuple[Answer, Watch] | None:
        """Run a system in a child process. A failure is recorded; the others continue."""
        work = self.corpus.work
        job, result, log = work / "job.json", work / "result.json", work / "log.txt"
        chosen = self.figures
        job.write_text(
            Job(
                system=system,
                kinds=kinds,
                work=work,
                model=chosen.model,
                execution=self.execution,
                device=chosen.device,
                compute_type=chosen.compute_type,
                batch=chosen.batch,
            ).model_dump_json(),
            encoding="utf-8",
        )
        result.unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "benchmarks.compare.child", str(job), str(result)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env=_environment(work))
            watch = Watch(process)
            try:
                process.wait()
            finally:
                process.kill()
                watch.end()
        if process.returncode or not result.exists():
            self.figures.problems.append(f"{system} ended with exit code {process.returncode}: {_last(log)}")
            return None
        answer = Answer.model_validate_json(result.read_bytes())
        for kind, hearing in answer.hearings.items():
            self.figures.problems += [f"{system}, {kind}/{name}: {error}" for name, error in hearing.errors.items()]
        return answer, watch

    def _measurements(self, system: SystemName, number: int, answer: Answer, watch: Watch) -> list[Measurement]:
        return [
            Measurement(
                system=system,
                kind=kind,
                round=number,
                audio_seconds=self.corpus.seconds[kind],
                seconds=hearing.ended - hearing.began,
                first_result=hearing.done[0] - hearing.began if hearing.done else None,
                wer=pooled_wer(self.corpus.items[kind], hearing),
                failed=len(hearing.errors),
                # The peak between two samples is known for the process, but not for its children.
                peak_memory=max(watch.peak, answer.peak),
                start_seconds=answer.start_seconds,
                load_seconds=answer.load_seconds,
                busy=hearing.busy,
            )
            for kind, hearing in answer.hearings.items()
        ]

    def _growth(self, count: int, number: int, hearing: Hearing, kind: str, watch: Watch) -> Growth:
        done = hearing.done
        shown = sorted({round(n * len(done) / _CURVE) for n in range(1, _CURVE + 1)} - {0})
        return Growth(
            recordings=count,
            round=number,
            audio_seconds=self.corpus.seconds[kind],
            seconds=hearing.ended - hearing.began,
            peak_memory=watch.peak,
            memory=[(n, watch.at(done[n - 1])) for n in shown],
        )

    def _note_load(self) -> None:
        self.figures.machine.load = (self._before, os.getloadavg()[0])


def pooled_wer(items: dict[str, Item], hearing: Hearing) -> float | None:
    """WER over the recordings with a reference text; a failed one counts as empty. None without reference texts."""
    pairs = [(item.text, hearing.texts.get(name, "")) for name, item in items.items() if item.text]
    return wer.wer(pairs) if pairs and wer.available() else None


def _environment(work: Path) -> dict[str, str]:
    """The environment of a child: a separate Prefect database and scratch folder, and ffmpeg for whisperX."""
    import imageio_ffmpeg

    programs = work / "bin"
    programs.mkdir(exist_ok=True)
    if not (programs / "ffmpeg").exists():
        (programs / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    return {
        **{name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"},
        "PREFECT_HOME": str(work / "prefect"),
        "STENOPOOL_SCRATCH__DIR": str(work),
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


def _last(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no message"
