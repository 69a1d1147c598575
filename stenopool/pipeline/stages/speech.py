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
from stenopool.pipeline.shards import Piece
from stenopool.pipeline.stages.prepare import PreparedRecording
from stenopool.pipeline.work import AUDIO
from stenopool.runtime.progress import Event, tell
from stenopool.runtime.stopping import stop_if_asked
from stenopool.speech import diarizers, engines
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.diarizers.base import Diarizer
from stenopool.speech.diarizers.channels import channel_turns
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


def fetch_audio(run: Run, pieces: Sequence[Piece]) -> None:
    """Prepared audio in scratch; in one process with ``prepare`` it is there already."""

    def one(piece: Piece) -> None:
        path = _audio_path(run, piece)
        if not path.exists():
            run.work(piece).get_audio(path)
        if piece.fingerprint not in run.durations:
            prepared = run.work(piece).load("prepare", PreparedRecording).prepared
            run.durations[piece.fingerprint] = prepared.audio.duration

    each(run, "fetch audio", pieces, one, after=["store"], at_once=TRANSFERS)


def load(run: Run, pieces: Sequence[Piece]) -> None:
    """The models that these pieces need, so that they are there when the audio is."""
    if any(not run.work(piece).has("transcribe") for piece in pieces):
        engine = engine_for(run.options.engine, run.options.model, run.execution)
        with _LOAD_LOCK, run.device.counts("load"):
            engine.load()
    by_model = run.options.diarization not in ("off", "channels")
    if by_model and any(not run.work(piece).has("diarize") for piece in pieces):
        diarizer = diarizer_for(run.options.diarization, run.execution)
        with _DIARIZER_LOCK, run.device.counts("load"):
            diarizer.load()
    for piece in pieces:
        run.handover.done("load models", piece)


def transcribe(run: Run, pieces: Sequence[Piece]) -> None:
    """Speech to text: the engine is given each piece as its audio comes; each result is kept as soon as it is there.

    What another run has finished meanwhile is left out; that is asked as late as can be, before the costly part.
    """
    engine = engine_for(run.options.engine, run.options.model, run.execution)
    by_id: dict[str, tuple[Piece, int]] = {}
    begun: set[str] = set()
    started, heard = time.monotonic(), 0.0
    answers: defaultdict[str, dict[int, Transcript]] = defaultdict(dict)

    def waiting() -> Iterator[Piece]:
        for piece in run.handover.coming(run.sound(pieces), ["fetch audio"]):
            if run.handover.is_done("transcribe", piece) or run.leave(piece):
                continue
            if run.work(piece).has("transcribe"):
                run.handover.done("transcribe", piece)
            else:
                yield piece

    def utterances(coming: Iterable[Piece]) -> Iterator[Utterance]:
        for piece in coming:
            stop_if_asked()
            begun.add(piece.fingerprint)
            run.device.begin("busy")
            run.take_up("transcribe")
            for n in range(_channels(run, piece)):
                by_id[_utterance_id(piece, n)] = piece, n
                yield Utterance(_utterance_id(piece, n), Waveform(_audio_path(run, piece), n))

    def over(piece: Piece) -> None:
        if piece.fingerprint in begun:
            begun.discard(piece.fingerprint)
            run.device.end("busy")
            run.let_go("transcribe", piece)

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
                piece, channel = by_id.pop(utterance.id)
                if isinstance(answer, Failure):
                    if piece.fingerprint not in run.failures:
                        over(piece)
                        run.fail(piece, answer)
                    continue
                parts = answers[piece.fingerprint]
                parts[channel] = answer
                if len(parts) == _channels(run, piece) and piece.fingerprint not in run.failures:
                    # Recordings are decoded together; the time is shared by length of audio.
                    heard += run.durations[piece.fingerprint]
                    share = run.durations[piece.fingerprint] / heard if heard else 0.0
                    _keep(run, piece, engine, parts, (time.monotonic() - started) * share)
                    over(piece)
                    del answers[piece.fingerprint]
                stop_if_asked()
    finally:
        unanswered = [piece for piece in pieces if piece.fingerprint in begun]
        for piece in unanswered:
            over(piece)
    for piece in run.sound(unanswered):
        message = f"{run.options.engine} gave no answer."
        run.fail(piece, RecordingError(ErrorCode.ENGINE_FAILED, message).failure("transcribe"))


def _keep(run: Run, piece: Piece, engine: Engine, parts: dict[int, Transcript], seconds: float) -> None:
    recognized = Recognized(
        channels=[parts[n] for n in sorted(parts)],
        engine_version=engine.version,
        model_digest=engine.model_digest,
        device=engine.device,
        compute_type=engine.compute_type,
        seconds=seconds,
    )
    run.work(piece).save("transcribe", recognized)
    tell(Event("transcribed", piece.recording.key, run.durations[piece.fingerprint]))
    run.handover.done("transcribe", piece)


def align(run: Run, pieces: Sequence[Piece]) -> None:
    """Word times by wav2vec2 in place of attention, where they are asked for."""
    from stenopool.speech.engines.alignment import align as align_words

    def one(piece: Piece) -> None:
        if run.work(piece).has("align"):
            return
        recognized = run.work(piece).load("transcribe", Recognized)
        with _ENGINE_LOCK, run.timed("align", piece), run.device.counts("busy"):
            start = time.monotonic()
            aligned = [
                align_words(transcript, Waveform(_audio_path(run, piece), n), transcript.language, recognized.device)
                for n, transcript in enumerate(recognized.channels)
            ]
            seconds = time.monotonic() - start
        run.work(piece).save("align", recognized.model_copy(update={"channels": aligned, "seconds": seconds}))

    each(run, "align", pieces, one, after=["transcribe"])


def diarize(run: Run, pieces: Sequence[Piece]) -> None:
    """Who speaks when."""
    diarizer = None if run.options.diarization == "channels" else diarizer_for(run.options.diarization, run.execution)

    def one(piece: Piece) -> None:
        if run.work(piece).has("diarize"):
            return
        if diarizer:
            with _DIARIZER_LOCK, run.device.counts("load"):
                diarizer.load()
        with _DIARIZER_LOCK, run.timed("diarize", piece), run.device.counts("busy"):
            start = time.monotonic()
            if diarizer:
                turns = diarizer.diarize(Waveform(_audio_path(run, piece)), run.options)
                version = diarizer.version
            else:
                waveforms = [Waveform(_audio_path(run, piece), n) for n in range(_channels(run, piece))]
                turns, version = channel_turns(waveforms, run.options), "1"
            seconds = time.monotonic() - start
        run.work(piece).save("diarize", Diarized(turns=turns, diarizer_version=version, seconds=seconds))
        tell(Event("diarized", piece.recording.key, run.durations[piece.fingerprint]))

    each(run, "diarize", pieces, one, after=["fetch audio"])


def recognized(run: Run, piece: Piece) -> tuple[Recognized, Recognized | None]:
    """The checkpoints of ``transcribe`` and, where asked, ``align``."""
    work = run.work(piece)
    aligned = work.load("align", Recognized) if work.has("align") else None
    return work.load("transcribe", Recognized), aligned


def speech_stages(run: Run) -> list[str]:
    """The stages that a piece must have gone through before it is published."""
    aligned = ["align"] if run.options.word_timestamps == "alignment" else []
    diarized = ["diarize"] if run.options.diarization != "off" else []
    return ["transcribe", *aligned, *diarized]


def _channels(run: Run, piece: Piece) -> int:
    if run.options.channels == "mix":
        return 1
    return run.work(piece).load("prepare", PreparedRecording).prepared.channels


def _utterance_id(piece: Piece, channel: int) -> str:
    return f"{piece.fingerprint}#{channel}"


def _audio_path(run: Run, piece: Piece) -> Path:
    return run.scratch.folder(piece.fingerprint) / AUDIO
