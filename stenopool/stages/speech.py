"""Stages on the GPU pool: audio at hand, transcribe, align, diarize. Each recording's result is a checkpoint."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel

from stenopool import diarizers, engines
from stenopool.audio.waveform import Waveform
from stenopool.diarizers.base import Diarizer
from stenopool.diarizers.channels import channel_turns
from stenopool.engines.base import Engine, Utterance
from stenopool.errors import ErrorCode, Failure, RecordingError
from stenopool.options import DiarizerName, EngineName, ExecutionOptions, TranscriptionOptions
from stenopool.progress import Event, tell
from stenopool.shards import Piece
from stenopool.stages.prepare import PreparedRecording
from stenopool.stages.run import Run, each
from stenopool.stages.stopping import stop_if_asked
from stenopool.stages.work import AUDIO
from stenopool.transcript import SpeakerTurn, Transcript

# One model of a kind per process: loading costs more than most recordings, and whisperX's pipeline mutates itself.
_ENGINE_LOCK = threading.Lock()
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

    each(run, "fetch audio", pieces, one)


def load(run: Run, pieces: Sequence[Piece]) -> None:
    """The models that these pieces need, so that they are there when the audio is."""
    if any(not run.work(piece).has("transcribe") for piece in pieces):
        engine = engine_for(run.options.engine, run.options.model, run.execution)
        with _ENGINE_LOCK, run.device.counts("load"):
            engine.load()
    if run.options.diarization in ("off", "channels"):
        return
    if any(not run.work(piece).has("diarize") for piece in pieces):
        diarizer = diarizer_for(run.options.diarization, run.execution)
        with _DIARIZER_LOCK, run.device.counts("load"):
            diarizer.load()


def leave_finished(run: Run, pieces: Sequence[Piece]) -> None:
    """Leave out what another run has finished meanwhile; asked as late as can be, before the costly part."""

    def one(piece: Piece) -> None:
        run.leave(piece)

    each(run, "leave finished", pieces, one)


def transcribe(run: Run, pieces: Sequence[Piece]) -> None:
    """Speech to text, all pieces as one batch; each result is kept as soon as it is there."""
    waiting = [piece for piece in run.sound(pieces) if not run.work(piece).has("transcribe")]
    if not waiting:
        return
    engine = engine_for(run.options.engine, run.options.model, run.execution)
    start = time.monotonic()
    by_id = {_utterance_id(piece, n): (piece, n) for piece in waiting for n in range(_channels(run, piece))}
    utterances = [
        Utterance(name, Waveform(_audio_path(run, piece), channel)) for name, (piece, channel) in by_id.items()
    ]
    answers: dict[str, dict[int, Transcript]] = {piece.fingerprint: {} for piece in waiting}
    audio = sum(run.durations[piece.fingerprint] for piece in waiting)
    with _ENGINE_LOCK, run.timed("transcribe", waiting), ExitStack() as stack:
        with run.device.counts("load"):
            engine.load()
        stack.enter_context(run.device.counts("busy"))
        for utterance, answer in engine.transcribe(utterances, run.options):
            piece, channel = by_id[utterance.id]
            if isinstance(answer, Failure):
                if piece.fingerprint not in run.failures:
                    run.fail(piece, answer)
                continue
            answers[piece.fingerprint][channel] = answer
            if len(answers[piece.fingerprint]) == _channels(run, piece) and piece.fingerprint not in run.failures:
                # A batch is decoded together; its time is shared by length of audio.
                share = run.durations[piece.fingerprint] / audio if audio else 0.0
                recognized = Recognized(
                    channels=[answers[piece.fingerprint][n] for n in range(_channels(run, piece))],
                    engine_version=engine.version,
                    model_digest=engine.model_digest,
                    device=engine.device,
                    compute_type=engine.compute_type,
                    seconds=(time.monotonic() - start) * share,
                )
                run.work(piece).save("transcribe", recognized)
                run.mark_done("transcribe", piece)
                tell(Event("transcribed", piece.recording.key, run.durations[piece.fingerprint]))
            stop_if_asked()
    lost = [piece for piece in run.sound(waiting) if not run.work(piece).has("transcribe")]
    for piece in lost:
        message = f"{run.options.engine} gave no answer."
        run.fail(piece, RecordingError(ErrorCode.ENGINE_FAILED, message).failure("transcribe"))


def align(run: Run, pieces: Sequence[Piece]) -> None:
    """Word times by wav2vec2 in place of attention, where they are asked for."""
    from stenopool.engines.alignment import align as align_words

    def one(piece: Piece) -> None:
        if run.work(piece).has("align"):
            return
        start = time.monotonic()
        recognized = run.work(piece).load("transcribe", Recognized)
        aligned = [
            align_words(transcript, Waveform(_audio_path(run, piece), n), transcript.language, recognized.device)
            for n, transcript in enumerate(recognized.channels)
        ]
        seconds = time.monotonic() - start
        run.work(piece).save("align", recognized.model_copy(update={"channels": aligned, "seconds": seconds}))

    with _ENGINE_LOCK, run.timed("align", pieces), run.device.counts("busy"):
        each(run, "align", pieces, one)


def diarize(run: Run, pieces: Sequence[Piece]) -> None:
    """Who speaks when."""
    diarizer = None if run.options.diarization == "channels" else diarizer_for(run.options.diarization, run.execution)

    def one(piece: Piece) -> None:
        if run.work(piece).has("diarize"):
            return
        start = time.monotonic()
        if diarizer is None:
            waveforms = [Waveform(_audio_path(run, piece), n) for n in range(_channels(run, piece))]
            turns, version = channel_turns(waveforms, run.options), "1"
        else:
            turns = diarizer.diarize(Waveform(_audio_path(run, piece)), run.options)
            version = diarizer.version
        seconds = time.monotonic() - start
        run.work(piece).save("diarize", Diarized(turns=turns, diarizer_version=version, seconds=seconds))
        tell(Event("diarized", piece.recording.key, run.durations[piece.fingerprint]))

    waiting = [piece for piece in run.sound(pieces) if not run.work(piece).has("diarize")]
    with _DIARIZER_LOCK, run.timed("diarize", waiting):
        if diarizer and waiting:
            with run.device.counts("load"):
                diarizer.load()
        with run.device.counts("busy"):
            each(run, "diarize", pieces, one)


def recognized(run: Run, piece: Piece) -> tuple[Recognized, Recognized | None]:
    """The checkpoints of ``transcribe`` and, where asked, ``align``."""
    work = run.work(piece)
    aligned = work.load("align", Recognized) if work.has("align") else None
    return work.load("transcribe", Recognized), aligned


def spoken(run: Run, pieces: Sequence[Piece]) -> list[Piece]:
    """The sound pieces that are ready to be published: every stage asked for has its checkpoint."""
    stages = ["transcribe"]
    if run.options.word_timestamps == "alignment":
        stages.append("align")
    if run.options.diarization != "off":
        stages.append("diarize")
    return [piece for piece in run.sound(pieces) if all(run.work(piece).has(stage) for stage in stages)]


def _channels(run: Run, piece: Piece) -> int:
    if run.options.channels == "mix":
        return 1
    return run.work(piece).load("prepare", PreparedRecording).prepared.channels


def _utterance_id(piece: Piece, channel: int) -> str:
    return f"{piece.fingerprint}#{channel}"


def _audio_path(run: Run, piece: Piece) -> Path:
    return run.scratch.folder(piece.fingerprint) / AUDIO
