"""Prepare a recording for the engines as 16 kHz FLAC at a normal level, and convert that FLAC for the page's player.

    probe ─► choose tracks, decode to spools ─► measure ─► choose or compare channels, normalize ─► FLAC

Faults of the input are found here, before a GPU is used.
"""

import contextlib
import errno
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from stenopool.errors import ErrorCode, RecordingError, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.decode import decode
from stenopool.speech.audio.layout import ChannelLayout, find_layout
from stenopool.speech.audio.mixing import Mode, Signals, Spool, gain_db
from stenopool.speech.audio.probe import Probe, Track, probe
from stenopool.speech.audio.tracks import DecodedTrack, decode_tracks, name_tracks
from stenopool.speech.audio.waveform import SAMPLE_RATE
from stenopool.speech.transcript import AudioInfo, AudioTrack, Prepared

# libsndfile writes an empty FLAC as a file of no bytes, which it cannot read: write this much silence instead.
_LEAST_FRAMES = SAMPLE_RATE // 100
# Up to a minute stays in memory: creating and removing a file costs more than decoding a few seconds, since ext4 skips
# every inode freed in the last half minute.
_IN_MEMORY = 2 * 1024 * 1024
_PLAYER_BITS, _PLAYER_BLOCK_SECONDS = 24_000, 10


def prepare_audio(source: Path, flac: Path, options: TranscriptionOptions, execution: ExecutionOptions) -> Prepared:
    """Write the speech of ``source`` to ``flac``: 16 kHz, 16 bit, one channel or all.

    Times are those of the source. For a recording without samples, ``audio.duration`` is 0 and the file has 10 ms of
    silence. A temporary spool takes 32 kB per second and channel; if it is long, it is next to ``flac``.

    Raises `RecordingError` (see `probe`, `select_tracks` and `decode`; TOO_LARGE, TOO_LONG) and `TransientError`
    (SCRATCH_FULL); then ``flac`` is deleted.
    """
    size = source.stat().st_size
    if size > execution.max_bytes:
        message = f"The file has {size:,} bytes; at most {execution.max_bytes:,} are allowed."
        raise RecordingError(ErrorCode.TOO_LARGE, message)
    found = probe(source)
    # libsndfile does not name the cause, but with constant arguments only the disk can fail.
    with _all_or_nothing(flac, soundfile.LibsndfileError), contextlib.ExitStack() as spools:

        def decode_track(track: Track, mode: Mode) -> DecodedTrack:
            chosen = found.of(track)
            if (promised := chosen.start + (chosen.duration or 0.0)) > execution.max_duration:
                message = f"The recording lasts {promised:,.0f} s; at most {execution.max_duration:,.0f} s are allowed."
                raise RecordingError(ErrorCode.TOO_LONG, message)
            file = spools.enter_context(tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(flac.parent)))
            limit, scratch = execution.max_duration, flac.parent
            decoded = decode(source, chosen, file, channels=mode, max_duration=limit, scratch=scratch)
            return DecodedTrack(track, Spool(file, decoded.channels, decoded.frames), decoded.gain_db, decoded.flags)

        tracks, flags = decode_tracks(found.tracks, options, decode_track)
        # First pass: measure all candidate signals.
        signals = Signals([each.spool for each in tracks], options.channels if len(tracks) == 1 else "mix")
        layout = find_layout(signals, options.channel_names) if options.channels == "split" else ChannelLayout()
        # Second pass: write the chosen ones.
        with soundfile.SoundFile(flac, "w", SAMPLE_RATE, signals.count, "PCM_16", format="FLAC") as file:
            for block in signals.normalized(layout.muted):
                file.write(block)
            if signals.frames < _LEAST_FRAMES:
                file.write(np.zeros((_LEAST_FRAMES - signals.frames, signals.count), np.int16))

    flags += [*signals.flags, *layout.flags]
    first = tracks[0].track
    audio = AudioInfo(
        duration=signals.frames / SAMPLE_RATE,
        sample_rate=first.sample_rate,
        channels=sum(each.track.channels for each in tracks),
        codec=first.codec,
        container=found.container,
        start_time=min(each.track.start for each in tracks),
        gain_db=round(min(each.gain_db for each in tracks) + gain_db(signals.levels), 2) + 0.0,  # no -0.0
        tracks=_list_tracks(found, [each.track for each in tracks]) if len(found.tracks) > 1 else [],
    )
    return Prepared(
        audio=audio,
        channels=signals.count,
        undivided=layout.undivided,
        channel_names=name_tracks([each.track for each in tracks]) if len(tracks) > 1 else [],
        flags=list(dict.fromkeys(flags)),
    )


def _list_tracks(found: Probe, transcribed: Sequence[Track]) -> list[AudioTrack]:
    return [
        AudioTrack(
            number=track.number,
            codec=track.codec,
            channels=track.channels,
            duration=track.duration,
            language=track.language,
            title=track.title,
            roles=list(track.roles),
            transcribed=track in transcribed,
        )
        for track in found.tracks
    ]


def player_audio(flac: Path, out: Path) -> None:
    """Write prepared audio as mono WebM/Opus at 24 kbit/s (11 MB per hour), which every browser plays. Times are kept.

    Does not use the ffmpeg program: the FLAC is trusted, and starting ffmpeg takes as long as encoding ten seconds.
    LAME takes three times as long. Raises `TransientError` (SCRATCH_FULL); on any error ``out`` is deleted.
    """
    import av

    with _all_or_nothing(out), soundfile.SoundFile(flac) as file, av.open(str(out), "w", format="webm") as container:
        # Takes 0.6 of the time of `voip`.
        options = {"application": "audio", "compression_level": "0", "frame_duration": "60"}
        stream = container.add_stream("libopus", rate=file.samplerate, layout="mono", options=options)
        stream.bit_rate = _PLAYER_BITS
        position = 0
        for block in file.blocks(file.samplerate * _PLAYER_BLOCK_SECONDS, dtype="int16", always_2d=True):
            mono = block.mean(axis=1).astype(np.int16) if block.shape[1] > 1 else block[:, 0]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(mono[None]), format="s16", layout="mono")
            frame.sample_rate, frame.pts = file.samplerate, position
            position += len(mono)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@contextlib.contextmanager
def _all_or_nothing(path: Path, *means_full: type[Exception]) -> Iterator[None]:
    """On an error, delete the file. Raise SCRATCH_FULL if the disk is full, or for an exception of ``means_full``."""
    try:
        yield
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, means_full) or getattr(error, "errno", None) == errno.ENOSPC:
            raise TransientError(ErrorCode.SCRATCH_FULL, f"No space is left in {path.parent}.") from error
        raise
