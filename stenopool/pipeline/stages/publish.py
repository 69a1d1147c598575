"""The last stages: speakers to words, files rendered and uploaded, and then, last of all, the receipt.

They take seconds, so they are not stopped half-way: what was transcribed is worth having.
"""

import base64
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from stenopool import __version__
from stenopool.errors import ErrorCode, Failure, RecordingError, SetupError
from stenopool.options import Format
from stenopool.pipeline import receipts, speaker_names
from stenopool.pipeline.receipts import Receipt, ReceiptName, output_key
from stenopool.pipeline.recordings import STAGE_VERSIONS
from stenopool.pipeline.run import TRANSFERS, Run, each
from stenopool.pipeline.shards import Piece
from stenopool.pipeline.stages.prepare import PreparedRecording
from stenopool.pipeline.stages.speech import Diarized, recognized, speech_stages
from stenopool.pipeline.work import AUDIO
from stenopool.runtime.progress import Event, logger, tell
from stenopool.speech.audio.encode import player_audio
from stenopool.speech.channels import merge_channels
from stenopool.speech.diarizers.channels import channel_name
from stenopool.speech.renderers import CONTENT_TYPES, RenderStyle, render
from stenopool.speech.speakers import assign as assign_speakers
from stenopool.speech.transcript import Provenance, Source, Transcript, all_flags

# Shorter recordings are put into the page itself (5 MB at most), so that it plays wherever it is copied to.
_EMBEDDED_SECONDS = 900.0
PLAYER_AUDIO = "audio.webm"
# Bytes of prepared audio (some 15 s) that are put into the page as they are. Encoding takes as much CPU time as all
# else that is done after transcribing, and a page of a third of a megabyte bothers nobody.
_AS_IT_IS = 256 * 1024


def assign(run: Run, pieces: Sequence[Piece]) -> None:
    """The whole transcript: channels merged, speakers to words, and how it was made. In memory, so soon is it made."""

    def one(piece: Piece) -> None:
        run.work(piece).keep("assign", _transcript(run, piece))

    each(run, "assign speakers", pieces, one, after=speech_stages(run), at_once=TRANSFERS, stoppable=False)


def upload(run: Run, pieces: Sequence[Piece]) -> None:
    """Render every format asked for and upload it; the JSON, which all others can be made from, last."""

    def one(piece: Piece) -> None:
        there = _receipts_there(run, piece)
        if run.leave(piece, there.values()):
            return
        for key, name in there.items():
            if name.fingerprint != piece.fingerprint:  # of files that are about to be overwritten
                run.destination.delete(key)
        transcript = run.work(piece).load("assign", Transcript)
        run.flags[piece.fingerprint] = all_flags(transcript)
        _render(run, piece, transcript, run.execution.formats)

    each(run, "upload", pieces, one, after=["assign speakers"], at_once=TRANSFERS, stoppable=False)


def receipt(run: Run, pieces: Sequence[Piece]) -> None:
    """Write the receipt: this piece is done. Then remove its checkpoints and its scratch."""

    def one(piece: Piece) -> None:
        if not _receipt(run, piece, run.execution.formats, run.durations[piece.fingerprint]) and run.leave(piece):
            return
        run.work(piece).remove()
        run.forget(piece)
        tell(Event("done", piece.recording.key, run.durations[piece.fingerprint]))

    each(run, "receipt", pieces, one, after=["upload"], at_once=TRANSFERS, stoppable=False)


def render_missing(run: Run, pieces: Sequence[Piece]) -> None:
    """Formats that a finished recording lacks, from its transcript, and a receipt that says so."""

    def one(piece: Piece) -> None:
        key = output_key(piece.recording.key, "json")
        try:
            transcript = Transcript.model_validate_json(run.destination.get_bytes(key))
        except SetupError as error:
            if error.code is not ErrorCode.OBJECT_NOT_FOUND:
                raise
            raise RecordingError(ErrorCode.TRANSCRIPT_MISSING, f"{key} is gone.") from error
        run.durations[piece.fingerprint] = transcript.duration
        names = speaker_names.read(run.destination, piece.recording.key, transcript)
        _render(run, piece, speaker_names.named(transcript, names), piece.formats)
        _receipt(run, piece, piece.formats, transcript.duration)
        run.forget(piece)

    each(run, "render", pieces, one, at_once=TRANSFERS)


def _receipts_there(run: Run, piece: Piece) -> dict[str, ReceiptName]:
    """All receipts of a piece's recording by their keys: also of other options, and of what was there before."""
    listed = run.destination.list(receipts.receipt_stem(piece.recording.key))
    named = {info.key: receipts.parse_receipt_key(info.key) for info in listed}
    return {key: name for key, name in named.items() if name}


def _render(run: Run, piece: Piece, transcript: Transcript, formats: Sequence[Format]) -> None:
    for format in reversed(formats):
        style = RenderStyle(title=piece.recording.key, audio=_player(run, piece) if format == "html" else None)
        content = render(transcript, format, style).encode()
        key = output_key(piece.recording.key, format)
        run.destination.put_bytes(key, content, content_type=CONTENT_TYPES[format])


def _receipt(run: Run, piece: Piece, formats: Sequence[Format], duration: float) -> bool:
    done = Receipt(
        key=piece.recording.key,
        fingerprint=piece.fingerprint,
        status="done",
        attempts=piece.attempts + 1,
        formats=tuple(formats),
        outputs=tuple(output_key(piece.recording.key, format) for format in formats),
        duration=duration,
        batch=run.batch,
        flags=run.flags.get(piece.fingerprint, ()),
    )
    return receipts.write(run.destination, done)


def quarantine(run: Run, pieces: Sequence[Piece]) -> None:
    """Put failed pieces aside: a receipt for those that failed for good, none for those that the next run takes up."""
    for piece in pieces:
        failure = run.failures[piece.fingerprint]
        if not failure.retryable and not run.leave(piece):  # else another run managed what this one could not
            _quarantine(run, piece, failure)
        run.forget(piece)


def _quarantine(run: Run, piece: Piece, failure: Failure) -> None:
    refused = Receipt(
        key=piece.recording.key,
        fingerprint=piece.fingerprint,
        status="quarantined",
        failure=failure,
        attempts=piece.attempts + 1,
        batch=run.batch,
    )
    receipts.write(run.destination, refused)
    run.work(piece).remove()


def _transcript(run: Run, piece: Piece) -> Transcript:
    start = time.monotonic()
    work, options = run.work(piece), run.options
    prepared = work.load("prepare", PreparedRecording)
    spoken, aligned = recognized(run, piece)
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
    recording = piece.recording
    return transcript.model_copy(
        update={
            "duration": prepared.prepared.audio.duration,
            "turns": diarized.turns if diarized else [],
            "flags": list(dict.fromkeys([*prepared.prepared.flags, *transcript.flags])),
            "source": Source(
                uri=recording.uri,
                key=recording.key,
                etag=recording.etag,
                version_id=recording.version_id,
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
                fingerprint=piece.fingerprint,
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


def _player(run: Run, piece: Piece) -> str | None:
    """What the page plays: the sound itself for short recordings, else a file beside the page."""
    folder = run.scratch.folder(piece.fingerprint)
    flac, player = folder / AUDIO, folder / PLAYER_AUDIO
    try:
        if flac.stat().st_size <= _AS_IT_IS:
            return _embedded(flac, "audio/flac")
        player_audio(flac, player)
    except Exception as error:
        # The transcript matters more than its player; the page offers to open the recording instead.
        logger.warning("%s: no audio for the page: %s", piece.recording.key, error)
        return None
    if run.durations[piece.fingerprint] <= _EMBEDDED_SECONDS:
        return _embedded(player, "audio/webm")
    run.destination.put_file(f"{piece.recording.key}/{PLAYER_AUDIO}", player, content_type="audio/webm")
    return PLAYER_AUDIO


def _embedded(path: Path, content_type: str) -> str:
    return f"data:{content_type};base64,{base64.b64encode(path.read_bytes()).decode()}"
