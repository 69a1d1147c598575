"""The last stages: speakers to words, files rendered and uploaded, and then, last of all, the receipt.

They take seconds, so they are not stopped half-way: what was transcribed is worth having.
"""

import base64
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from stenopool import __version__
from stenopool.errors import ErrorCode, Failure, ObjectNotFound, RecordingError
from stenopool.options import Format
from stenopool.pipeline import receipts, speaker_names
from stenopool.pipeline.receipts import Receipt, output_key
from stenopool.pipeline.recordings import STAGE_VERSIONS
from stenopool.pipeline.run import TRANSFERS, Run, each
from stenopool.pipeline.shards import WorkItem
from stenopool.pipeline.stages.prepare import PreparedRecording
from stenopool.pipeline.stages.speech import Diarized, recognized, speech_stages
from stenopool.pipeline.work import AUDIO
from stenopool.runtime.progress import Event, emit, logger
from stenopool.speech.audio.encode import player_audio
from stenopool.speech.renderers import CONTENT_TYPES, RenderStyle, render
from stenopool.speech.speaker_assignment import assign as assign_speakers
from stenopool.speech.split_channels import channel_name, merge_channels
from stenopool.speech.transcript import Provenance, Source, Transcript, all_flags

# Shorter recordings are put into the page itself (5 MB at most), so that it plays wherever it is copied to.
_EMBEDDED_SECONDS = 900.0
PLAYER_AUDIO = "audio.webm"
# Bytes of prepared audio (some 15 s) that are put into the page as they are. Encoding takes as much CPU time as all
# else that is done after transcribing, and a page of a third of a megabyte bothers nobody.
_AS_IT_IS = 256 * 1024
_MADE_BY = re.compile(rb'"fingerprint":\s*"([0-9a-f]{32})"')  # in a transcript, where quotes of other texts are escaped


def assign(run: Run, items: Sequence[WorkItem]) -> None:
    """The whole transcript: channels merged, speakers to words, and how it was made. In memory, so soon is it made."""

    def one(item: WorkItem) -> None:
        run.work(item).keep("assign", _transcript(run, item))

    each(run, "assign speakers", items, one, after=speech_stages(run), at_once=TRANSFERS, stoppable=False)


def upload(run: Run, items: Sequence[WorkItem]) -> None:
    """Render every format asked for and upload it; the JSON, which all others can be made from, last."""

    def one(item: WorkItem) -> None:
        if run.leave(item):
            return
        _supersede(run, item)
        transcript = run.work(item).load("assign", Transcript)
        run.flags[item.fingerprint] = all_flags(transcript)
        _render(run, item, transcript, run.execution.formats)

    each(run, "upload", items, one, after=["assign speakers"], at_once=TRANSFERS, stoppable=False)


def receipt(run: Run, items: Sequence[WorkItem]) -> None:
    """Write the receipt: this item is done. Then remove its checkpoints and its scratch."""

    def one(item: WorkItem) -> None:
        if not _receipt(run, item, run.execution.formats, run.durations[item.fingerprint]) and run.leave(item):
            return
        run.work(item).remove()
        run.forget(item)
        emit(Event("done", item.recording.key, run.durations[item.fingerprint]))

    each(run, "receipt", items, one, after=["upload"], at_once=TRANSFERS, stoppable=False)


def render_missing(run: Run, items: Sequence[WorkItem]) -> None:
    """Formats that a finished recording lacks, from its transcript, and a receipt that says so."""

    def one(item: WorkItem) -> None:
        key = output_key(item.recording.key, "json")
        try:
            transcript = Transcript.model_validate_json(run.destination.get_bytes(key))
        except ObjectNotFound as error:
            raise RecordingError(ErrorCode.TRANSCRIPT_MISSING, f"{key} is gone.") from error
        run.durations[item.fingerprint] = transcript.duration
        names = speaker_names.read(run.destination, item.recording.key, transcript)
        _render(run, item, speaker_names.apply_names(transcript, names), item.formats)
        _receipt(run, item, item.formats, transcript.duration)
        run.forget(item)

    each(run, "render", items, one, at_once=TRANSFERS)


def _supersede(run: Run, item: WorkItem) -> None:
    """Delete the receipts of the files that are about to be overwritten.

    Those that were listed for the plan, and that of a run with other options that has finished since: its fingerprint
    is in the transcript.
    """
    transcript = run.destination.get_bytes(output_key(item.recording.key, "json"), b"")
    made_by = {digits.decode() for digits in _MADE_BY.findall(transcript)}
    for other in made_by.union(item.superseded) - {item.fingerprint}:
        receipts.delete(run.destination, item.recording.key, other)


def _render(run: Run, item: WorkItem, transcript: Transcript, formats: Sequence[Format]) -> None:
    for format in reversed(formats):
        style = RenderStyle(title=item.recording.key, audio=_player(run, item) if format == "html" else None)
        content = render(transcript, format, style).encode()
        key = output_key(item.recording.key, format)
        run.destination.put_bytes(key, content, content_type=CONTENT_TYPES[format])


def _receipt(run: Run, item: WorkItem, formats: Sequence[Format], duration: float) -> bool:
    done = Receipt(
        key=item.recording.key,
        fingerprint=item.fingerprint,
        status="done",
        attempts=item.attempts + 1,
        formats=tuple(formats),
        outputs=tuple(output_key(item.recording.key, format) for format in formats),
        duration=duration,
        batch=run.batch,
        flags=run.flags.get(item.fingerprint, ()),
    )
    return receipts.write(run.destination, done)


def quarantine(run: Run, items: Sequence[WorkItem]) -> None:
    """Put failed items aside: a receipt for those that failed for good, none for those that the next run takes up."""
    for item in items:
        failure = run.failures[item.fingerprint]
        if not failure.retryable and not run.leave(item):  # else another run managed what this one could not
            _quarantine(run, item, failure)
        run.forget(item)


def _quarantine(run: Run, item: WorkItem, failure: Failure) -> None:
    refused = Receipt(
        key=item.recording.key,
        fingerprint=item.fingerprint,
        status="quarantined",
        failure=failure,
        attempts=item.attempts + 1,
        batch=run.batch,
    )
    receipts.write(run.destination, refused)
    run.work(item).remove()


def _transcript(run: Run, item: WorkItem) -> Transcript:
    start = time.monotonic()
    work, options = run.work(item), run.options
    prepared = work.load("prepare", PreparedRecording)
    spoken, aligned = recognized(run, item)
    channels = (aligned or spoken).channels
    diarized = work.load("diarize", Diarized) if options.diarization != "off" else None
    if options.channels == "split":
        names = [channel_name(n, options.channel_names) for n in range(len(channels))]
        transcript = merge_channels(channels, names, as_speakers=options.diarization == "channels")
    else:
        transcript = channels[0]
    if diarized and options.channels == "mix":
        transcript = assign_speakers(transcript, diarized.turns)
    timings = {
        "prepare": prepared.seconds,
        "transcribe": spoken.seconds,
        **({"align": aligned.seconds} if aligned else {}),
        **({"diarize": diarized.seconds} if diarized else {}),
        "assign": time.monotonic() - start,
    }
    recording = item.recording
    return transcript.model_copy(
        update={
            "duration": prepared.prepared.audio.duration,
            "turns": diarized.turns if diarized else [],
            "flags": list(dict.fromkeys([*prepared.prepared.flags, *transcript.flags])),
            "source": Source(
                uri=recording.uri,
                key=recording.key,
                etag=recording.etag,
                size=recording.size,
                sha256=prepared.sha256,
            ),
            "audio": prepared.prepared.audio,
            "provenance": Provenance(
                stenopool_version=__version__,
                engine=options.engine,
                engine_version=spoken.engine_version,
                model=options.model,
                model_digest=spoken.model_digest,
                device=spoken.device,
                compute_type=spoken.compute_type,
                options=options.model_dump(mode="json"),
                fingerprint=item.fingerprint,
                stages=STAGE_VERSIONS,
                word_timestamps=_word_timestamps(run, transcript),
                diarizer=None if options.diarization == "off" else options.diarization,
                diarizer_version=diarized.diarizer_version if diarized else None,
                created_at=datetime.now(UTC),
            ),
            "timings": {stage: round(seconds, 3) for stage, seconds in timings.items()},
        }
    )


def _word_timestamps(run: Run, transcript: Transcript) -> str | None:
    from stenopool.speech.transcript import ALIGNMENT_UNAVAILABLE

    if run.options.word_timestamps == "off":
        return None
    if run.options.word_timestamps == "alignment" and ALIGNMENT_UNAVAILABLE not in transcript.flags:
        return "alignment"
    return "attention"


def _player(run: Run, item: WorkItem) -> str | None:
    """What the page plays: the sound itself for short recordings, else a file beside the page."""
    folder = run.scratch.folder(item.fingerprint)
    flac, player = folder / AUDIO, folder / PLAYER_AUDIO
    try:
        if flac.stat().st_size <= _AS_IT_IS:
            return _embedded(flac, "audio/flac")
        player_audio(flac, player)
    except Exception as error:
        # The transcript matters more than its player; the page offers to open the recording instead.
        logger.warning("%s: no audio for the page: %s", item.recording.key, error)
        return None
    if run.durations[item.fingerprint] <= _EMBEDDED_SECONDS:
        return _embedded(player, "audio/webm")
    run.destination.put_file(f"{item.recording.key}/{PLAYER_AUDIO}", player, content_type="audio/webm")
    return PLAYER_AUDIO


def _embedded(path: Path, content_type: str) -> str:
    return f"data:{content_type};base64,{base64.b64encode(path.read_bytes()).decode()}"
