"""Stages on the GPU pool: audio at hand, transcribe, align, diarize. Each recording's result is a checkpoint."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache
from itertools import chain
from pathlib import Path

from pydantic import BaseModel

from stenopool.errors import ErrorCode, Failure, RecordingError
from stenopool.options import DiarizerName, EngineName, ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.run import TRANSFERS, Run, each
from stenopool.pipeline.shards import WorkItem
from stenopool.pipeline.stages.prepare import PreparedRecording
from stenopool.pipeline.work import AUDIO
from stenopool.runtime.progress import Event, emit
from stenopool.runtime.signals import stop_if_asked
from stenopool.speech import diarizers, engines
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.diarizers.base import Diarizer
from stenopool.speech.engines.base import Engine, Utterance
from stenopool.speech.transcript import SpeakerTurn, Transcript

# One model of a kind per process: loading costs more than most recordings, and whisperX's pipeline mutates itself.
_ENGINE_LOCK = threading.Lock()
_LOAD_LOCK = threading.Lock()
_DIARIZER_LOCK = threading.Lock()


class Recognized(BaseModel):
    """Checkpoint of ``transcribe`` and ``align``: a transcript per channel, and what made them."""

    channels: list[Transcript]
    engine_version: str
    model_digest: str | None = None
    device: str
    compute_type: str
    seconds: float


class Diarized(BaseModel):
    """Checkpoint of ``diarize``."""

    turns: list[SpeakerTurn]
    diarizer_version: str
    seconds: float


@lru_cache(maxsize=1)
def engine_for(engine: EngineName, model: str, execution: ExecutionOptions) -> Engine:
    """This process's engine, loaded at its first use."""
    return engines.create(TranscriptionOptions(engine=engine, model=model), execution)


@lru_cache(maxsize=1)
def diarizer_for(name: DiarizerName, execution: ExecutionOptions) -> Diarizer:
    """This process's diarizer, loaded at its first use."""
    return diarizers.create(name, execution)


def check(options: TranscriptionOptions, execution: ExecutionOptions) -> None:
    """Extras, weights, tokens and device, found out before any audio is touched. Raises `SetupError`."""
    engines.check(options, execution)
    diarizers.check(options, execution)


def fetch_audio(run: Run, items: Sequence[WorkItem]) -> None:
    """Prepared audio in scratch; in one process with ``prepare`` it is there already."""

    def one(item: WorkItem) -> None:
        path = _audio_path(run, item)
        if not path.exists():
            run.work(item).get_audio(path)
        if item.fingerprint not in run.durations:
            prepared = run.work(item).load("prepare", PreparedRecording).prepared
            run.durations[item.fingerprint] = prepared.audio.duration

    each(run, "fetch audio", items, one, after=["store"], at_once=TRANSFERS)


def load(run: Run, items: Sequence[WorkItem]) -> None:
    """The models that these items need, so that they are there when the audio is."""
    if any(not run.work(item).has("transcribe") for item in items):
        engine = engine_for(run.options.engine, run.options.model, run.execution)
        with _LOAD_LOCK, run.device.counts("load"):
            engine.load()
    if run.options.diarization != "off" and any(not run.work(item).has("diarize") for item in items):
        diarizer = diarizer_for(run.options.diarization, run.execution)
        with _DIARIZER_LOCK, run.device.counts("load"):
            diarizer.load()
    for item in items:
        run.handover.done("load models", item)


def transcribe(run: Run, items: Sequence[WorkItem]) -> None:
    """Speech to text: the engine is given each item as its audio comes; each result is kept as soon as it is there.

    What another run has finished meanwhile is left out; that is asked as late as can be, before the costly part.
    """
    engine = engine_for(run.options.engine, run.options.model, run.execution)
    by_id: dict[str, tuple[WorkItem, int]] = {}
    begun: set[str] = set()
    started, heard = time.monotonic(), 0.0
    answers: defaultdict[str, dict[int, Transcript]] = defaultdict(dict)

    def waiting() -> Iterator[WorkItem]:
        for item in run.handover.coming(run.sound(items), ["fetch audio"]):
            if run.handover.is_done("transcribe", item) or run.leave(item):
                continue
            if run.work(item).has("transcribe"):
                run.handover.done("transcribe", item)
            else:
                yield item

    def utterances(coming: Iterable[WorkItem]) -> Iterator[Utterance]:
        for item in coming:
            stop_if_asked()
            begun.add(item.fingerprint)
            run.device.begin("busy")
            run.take_up("transcribe")
            for n in range(_channels(run, item)):
                by_id[_utterance_id(item, n)] = item, n
                yield Utterance(_utterance_id(item, n), Waveform(_audio_path(run, item), n))

    def over(item: WorkItem) -> None:
        if item.fingerprint in begun:
            begun.discard(item.fingerprint)
            run.device.end("busy")
            run.let_go("transcribe", item)

    coming = waiting()
    first = next(coming, None)
    if first is None:
        return
    # An engine that takes one batch at a time makes the next one wait here; one that pools mixes their windows.
    with _LOAD_LOCK, run.device.counts("load"):
        engine.load()
    try:
        with nullcontext() if engine.concurrent else _ENGINE_LOCK:
            for utterance, answer in engine.transcribe(utterances(chain([first], coming)), run.options):
                item, channel = by_id.pop(utterance.id)
                if isinstance(answer, Failure):
                    if item.fingerprint not in run.failures:
                        over(item)
                        run.fail(item, answer)
                    continue
                parts = answers[item.fingerprint]
                parts[channel] = answer
                if len(parts) == _channels(run, item) and item.fingerprint not in run.failures:
                    # Recordings are decoded together; the time is shared by length of audio.
                    heard += run.durations[item.fingerprint]
                    share = run.durations[item.fingerprint] / heard if heard else 0.0
                    _keep(run, item, engine, parts, (time.monotonic() - started) * share)
                    over(item)
                    del answers[item.fingerprint]
                stop_if_asked()
    finally:
        unanswered = [item for item in items if item.fingerprint in begun]
        for item in unanswered:
            over(item)
    for item in run.sound(unanswered):
        message = f"{run.options.engine} gave no answer."
        run.fail(item, RecordingError(ErrorCode.ENGINE_FAILED, message).failure("transcribe"))


def _keep(run: Run, item: WorkItem, engine: Engine, parts: dict[int, Transcript], seconds: float) -> None:
    recognized = Recognized(
        channels=[parts[n] for n in sorted(parts)],
        engine_version=engine.version,
        model_digest=engine.model_digest,
        device=engine.device,
        compute_type=engine.compute_type,
        seconds=seconds,
    )
    run.work(item).save("transcribe", recognized)
    emit(Event("transcribed", item.recording.key, run.durations[item.fingerprint]))
    run.handover.done("transcribe", item)


def align(run: Run, items: Sequence[WorkItem]) -> None:
    """Word times by wav2vec2 in place of attention, where they are asked for."""
    from stenopool.speech.engines.alignment import align as align_words

    def one(item: WorkItem) -> None:
        if run.work(item).has("align"):
            return
        recognized = run.work(item).load("transcribe", Recognized)
        with _ENGINE_LOCK, run.timed("align", item), run.device.counts("busy"):
            start = time.monotonic()
            aligned = [
                align_words(transcript, Waveform(_audio_path(run, item), n), transcript.language, recognized.device)
                for n, transcript in enumerate(recognized.channels)
            ]
            seconds = time.monotonic() - start
        run.work(item).save("align", recognized.model_copy(update={"channels": aligned, "seconds": seconds}))

    each(run, "align", items, one, after=["transcribe"])


def diarize(run: Run, items: Sequence[WorkItem]) -> None:
    """Who speaks when."""
    diarizer = diarizer_for(run.options.diarization, run.execution)

    def one(item: WorkItem) -> None:
        if run.work(item).has("diarize"):
            return
        with _DIARIZER_LOCK, run.device.counts("load"):
            diarizer.load()
        with _DIARIZER_LOCK, run.timed("diarize", item), run.device.counts("busy"):
            start = time.monotonic()
            recording = [Waveform(_audio_path(run, item), n) for n in range(_channels(run, item))]
            turns = diarizer.diarize(recording, run.options)
            seconds = time.monotonic() - start
        run.work(item).save("diarize", Diarized(turns=turns, diarizer_version=diarizer.version, seconds=seconds))
        emit(Event("diarized", item.recording.key, run.durations[item.fingerprint]))

    each(run, "diarize", items, one, after=["fetch audio"])


def recognized(run: Run, item: WorkItem) -> tuple[Recognized, Recognized | None]:
    """The checkpoints of ``transcribe`` and, where asked, ``align``."""
    work = run.work(item)
    aligned = work.load("align", Recognized) if work.has("align") else None
    return work.load("transcribe", Recognized), aligned


def speech_stages(run: Run) -> list[str]:
    """The stages that a item must have gone through before it is published."""
    aligned = ["align"] if run.options.word_timestamps == "alignment" else []
    diarized = ["diarize"] if run.options.diarization != "off" else []
    return ["transcribe", *aligned, *diarized]


def _channels(run: Run, item: WorkItem) -> int:
    if run.options.channels == "mix":
        return 1
    return run.work(item).load("prepare", PreparedRecording).prepared.channels


def _utterance_id(item: WorkItem, channel: int) -> str:
    return f"{item.fingerprint}#{channel}"


def _audio_path(run: Run, item: WorkItem) -> Path:
    return run.scratch.folder(item.fingerprint) / AUDIO
