"""The last stages: assign speakers to words, render and upload files, and finally write the receipt."""

import base64
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from stenopool import __version__
from stenopool.errors import AccessDenied, ErrorCode, OutputDenied, RecordingError
from stenopool.options import Format
from stenopool.pipeline import receipts, speaker_names
from stenopool.pipeline.checkpoints import ALIGNED, ASSIGNED, DIARIZED, PREPARED, RECOGNIZED, STAGE_VERSIONS
from stenopool.pipeline.context import TRANSFERS, Job, RunContext, Stage
from stenopool.pipeline.receipts import Receipt, output_key
from stenopool.pipeline.stages.prepare import NORMALIZE
from stenopool.pipeline.stages.transcribe import ALIGN, DIARIZE, TRANSCRIBE
from stenopool.runtime.logs import logger
from stenopool.speech.audio.preparation import player_audio
from stenopool.speech.renderers import CONTENT_TYPES, render
from stenopool.speech.speakers import assign_speakers, channel_name, merge_channels
from stenopool.speech.transcript import ALIGNMENT_UNAVAILABLE, Provenance, Source, Transcript, all_flags

# Shorter recordings are embedded in the page (5 MB at most), so that it plays wherever it is copied.
_EMBEDDED_SECONDS = 900.0
PLAYER_AUDIO = "audio.webm"
# Maximum bytes of prepared audio (about 15 s) that are embedded without encoding. Encoding takes as much CPU time as
# all other work after transcription, and a page of a third of a megabyte is acceptable.
_AS_IT_IS = 256 * 1024
_MADE_BY = re.compile(rb'"fingerprint":\s*"([0-9a-f]{32})"')  # quotes inside a transcript's texts are escaped


def assign(run: RunContext, job: Job) -> None:
    """Build the complete transcript: merge channels, assign speakers to words, add the provenance."""
    start = time.monotonic()
    work, options = job.work, run.options
    prepared, spoken = work.load(PREPARED), work.load(RECOGNIZED)
    aligned = work.load(ALIGNED) if ALIGN.applies(options) else None
    diarized = work.load(DIARIZED) if DIARIZE.applies(options) else None
    channels = (aligned or spoken).channels
    is_split = options.channels == "split" and not prepared.prepared.undivided
    if is_split:
        given = options.channel_names or prepared.prepared.channel_names
        names = [channel_name(n, given) for n in range(len(channels))]
        as_speakers = options.diarization == "channels" or bool(options.channel_names)
        transcript = merge_channels(channels, names, as_speakers=as_speakers)
    else:
        transcript = channels[0]
    if diarized and not is_split:
        transcript = assign_speakers(transcript, diarized.turns)
    timings = {
        "prepare": prepared.seconds,
        "transcribe": spoken.seconds,
        **({"align": aligned.seconds} if aligned else {}),
        **({"diarize": diarized.seconds} if diarized else {}),
        "assign": time.monotonic() - start,
    }
    recording = job.item.recording
    whole = transcript.model_copy(
        update={
            "duration": prepared.prepared.audio.duration,
            "turns": diarized.turns if diarized else [],
            "flags": list(dict.fromkeys([*prepared.prepared.flags, *transcript.flags])),
            "source": Source(sha256=prepared.sha256, **recording.model_dump(exclude={"modified"})),
            "audio": prepared.prepared.audio,
            "provenance": Provenance(
                stenopool_version=__version__,
                engine=options.engine,
                model=options.model,
                **spoken.model_dump(exclude={"channels", "seconds"}),
                options=options.model_dump(mode="json"),
                fingerprint=job.fingerprint,
                stages=STAGE_VERSIONS,
                word_timestamps=_word_timestamps(run, transcript),
                diarizer=diarized.diarizer or options.diarization if diarized else None,
                diarizer_version=diarized.diarizer_version if diarized else None,
                created_at=datetime.now(UTC),
            ),
            "timings": {stage: round(seconds, 3) for stage, seconds in timings.items()},
        }
    )
    job.work.keep(ASSIGNED, whole)


def upload(run: RunContext, job: Job) -> None:
    """Render and upload all requested formats. JSON is last, because all others can be rendered from it."""
    if job.skip_if_finished():
        return
    transcript = job.work.load(ASSIGNED)
    job.flags, job.language = all_flags(transcript), transcript.language
    with _denials():
        _supersede(run, job)
        _upload_formats(run, job, transcript, run.execution.formats)


def write_receipt(run: RunContext, job: Job) -> None:
    """Write the receipt, then delete the checkpoints: the work item is done."""
    if not _write_receipt(run, job, run.execution.formats) and job.skip_if_finished():
        return
    job.work.remove()
    job.end("done")


def render_missing(run: RunContext, job: Job) -> None:
    """Render the formats that a finished recording lacks from its transcript, and write a receipt for them."""
    key = output_key(job.key, "json")
    with _denials():
        data = run.destination.get_bytes(key, default=None)
        if data is None:
            raise RecordingError(ErrorCode.TRANSCRIPT_MISSING, f"{key} no longer exists.")
        transcript = Transcript.model_validate_json(data)
        job.known_duration, job.language = transcript.duration, transcript.language
        names = speaker_names.read(run.destination, job.key, transcript)
        _upload_formats(run, job, speaker_names.apply_names(transcript, names), job.item.formats)
    _write_receipt(run, job, job.item.formats)
    job.end("rendered")


def quarantine(run: RunContext, job: Job) -> None:
    """Quarantine a failed job with a receipt, or defer it if the next run may succeed."""
    if job.failure is None:
        return
    if job.failure.code.retryable:
        job.end("deferred")
    elif not job.skip_if_finished():  # else another run succeeded
        refused = Receipt(
            key=job.key,
            fingerprint=job.fingerprint,
            status="quarantined",
            failure=job.failure,
            attempts=job.item.attempts + 1,
            batch=run.batch,
            options=run.options.model_dump(mode="json"),
        )
        receipts.write(run.destination, refused)
        job.work.remove()
        job.end("quarantined")


# These stages take seconds, so they are not stopped midway: transcribed recordings get published.
ASSIGN = Stage(
    "assign speakers", assign, waits_for=(TRANSCRIBE, ALIGN, DIARIZE), concurrency=TRANSFERS, stoppable=False
)
UPLOAD = Stage("upload", upload, waits_for=(ASSIGN,), concurrency=TRANSFERS, stoppable=False)
RECEIPT = Stage("receipt", write_receipt, waits_for=(UPLOAD,), concurrency=TRANSFERS, stoppable=False, event="done")
RENDER = Stage("render", render_missing, waits_for=(NORMALIZE,), concurrency=TRANSFERS)
QUARANTINE = Stage("quarantine", quarantine, concurrency=TRANSFERS, stoppable=False, takes_failed=True)


@contextmanager
def _denials() -> Iterator[None]:
    """Treat denied access to a recording's output files as that recording's failure, at first."""
    try:
        yield
    except AccessDenied as error:
        raise OutputDenied(error.message) from error


def _supersede(run: RunContext, job: Job) -> None:
    """Delete the receipts of the files that are about to be overwritten.

    These are the receipts listed for the plan, and that of a run with other options that has finished since; its
    fingerprint is in the transcript.
    """
    transcript = b""
    with suppress(RecordingError):  # an old transcript may be archived or its key disabled; it is overwritten anyway
        transcript = run.destination.get_bytes(output_key(job.key, "json"), b"")
    made_by = {digits.decode() for digits in _MADE_BY.findall(transcript)}
    for other in made_by.union(job.item.superseded) - {job.fingerprint}:
        receipts.delete(run.destination, job.key, other)


def _upload_formats(run: RunContext, job: Job, transcript: Transcript, formats: Sequence[Format]) -> None:
    for format in reversed(formats):
        audio = _player(run, job) if format == "html" else None
        content = render(transcript, format, run.execution, title=job.key, audio=audio).encode()
        run.destination.put_bytes(output_key(job.key, format), content, content_type=CONTENT_TYPES[format])


def _write_receipt(run: RunContext, job: Job, formats: Sequence[Format]) -> bool:
    done = Receipt(
        key=job.key,
        fingerprint=job.fingerprint,
        status="done",
        attempts=job.item.attempts + 1,
        formats=tuple(formats),
        outputs=tuple(output_key(job.key, format) for format in formats),
        duration=job.duration,
        language=job.language,
        batch=run.batch,
        flags=job.flags,
    )
    return receipts.write(run.destination, done)


def _word_timestamps(run: RunContext, transcript: Transcript) -> str | None:
    if run.options.word_timestamps == "off":
        return None
    if run.options.word_timestamps == "alignment" and ALIGNMENT_UNAVAILABLE not in transcript.flags:
        return "alignment"
    return "attention"


def _player(run: RunContext, job: Job) -> str | None:
    """The audio for the page: embedded for short recordings, otherwise a file next to the page."""
    flac, player = job.audio, job.audio.with_name(PLAYER_AUDIO)
    try:
        if flac.stat().st_size <= _AS_IT_IS:
            return _embed(flac, "audio/flac")
        player_audio(flac, player)
    except Exception as error:
        # The transcript is more important than its player; the page offers to open the recording instead.
        logger.warning("%s: cannot prepare audio for the page: %s", job.key, error)
        return None
    if job.duration <= _EMBEDDED_SECONDS:
        return _embed(player, "audio/webm")
    run.destination.put_file(f"{job.key}/{PLAYER_AUDIO}", player, content_type="audio/webm")
    return PLAYER_AUDIO


def _embed(path: Path, content_type: str) -> str:
    return f"data:{content_type};base64,{base64.b64encode(path.read_bytes()).decode()}"
