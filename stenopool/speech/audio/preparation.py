"""Prepare a recording for the engines: 16 kHz FLAC at a normal level.

    probe ─► decode to a spool ─► measure ─► choose channels, normalize ─► FLAC

Faults of an input are found here, before a GPU is used.
"""

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from stenopool.errors import ErrorCode, RecordingError, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.decode import decode
from stenopool.speech.audio.levels import measure
from stenopool.speech.audio.mixing import candidates, choose, gain_db, join_samples, normalize_signal, segments
from stenopool.speech.audio.prepared import Prepared
from stenopool.speech.audio.probe import probe
from stenopool.speech.audio.waveform import SAMPLE_RATE
from stenopool.speech.transcript import AudioInfo

# libsndfile writes a FLAC file without samples as no bytes and cannot read it; this much silence stands for none.
_LEAST_FRAMES = SAMPLE_RATE // 100
# Up to a minute stays in memory: creating and removing a file costs more than decoding a few seconds, since ext4 skips
# every inode freed in the last half minute.
_IN_MEMORY = 2 * 1024 * 1024


def prepare_audio(source: Path, flac: Path, options: TranscriptionOptions, execution: ExecutionOptions) -> Prepared:
    """Write ``flac``: the audio of ``source`` as a player would play it, 16 kHz, 16 bit, one channel or all.

    Its times are those of the source. For a recording without samples ``audio.duration`` is 0 and the file has 10 ms of
    silence. A temporary spool takes 32 kB per second and channel, next to ``flac`` if it is long.

    Raises `RecordingError` (see `probe` and `decode`; TOO_LARGE, TOO_LONG) and `TransientError` (SCRATCH_FULL); then
    ``flac`` is deleted.
    """
    size = source.stat().st_size
    if size > execution.max_bytes:
        raise RecordingError(ErrorCode.TOO_LARGE, f"It is {size:,} bytes long; {execution.max_bytes:,} are allowed.")
    found = probe(source)
    if (promised := found.start + (found.duration or 0.0)) > execution.max_duration:
        raise RecordingError(
            ErrorCode.TOO_LONG, f"It lasts {promised:,.0f} s; {execution.max_duration:,.0f} s are allowed."
        )
    with _all_or_nothing(flac), tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(flac.parent)) as spool:
        decoded = decode(source, found, spool, channels=options.channels, max_duration=execution.max_duration)
        signals = candidates(decoded.channels, options.channels)

        # First pass: measure every signal that may be kept.
        levels = measure(join_samples(signals(segment)) for segment in segments(spool, decoded.channels))
        kept, flags = choose(levels, decoded.channels, options.channels) if levels else (range(decoded.channels), [])
        gain = gain_db([levels[n] for n in kept]) if levels else 0.0

        # Second pass: write those that are.
        with soundfile.SoundFile(flac, "w", SAMPLE_RATE, len(kept), "PCM_16", format="FLAC") as file:
            for segment in segments(spool, decoded.channels):
                pieces = signals(segment)
                file.write(join_samples([normalize_signal(pieces[n], levels[n].offset, gain) for n in kept]))
            if decoded.frames < _LEAST_FRAMES:
                file.write(np.zeros((_LEAST_FRAMES - decoded.frames, len(kept)), np.int16))

    audio = AudioInfo(
        duration=decoded.duration,
        sample_rate=found.sample_rate,
        channels=found.channels,
        codec=found.codec,
        container=found.container,
        start_time=found.start,
        gain_db=round(gain, 2) + 0.0,  # no -0.0
    )
    return Prepared(audio=audio, channels=len(kept), flags=decoded.flags + flags)


@contextlib.contextmanager
def _all_or_nothing(flac: Path) -> Iterator[None]:
    """On an error, delete the file; raise SCRATCH_FULL if the disk is full."""
    try:
        yield
    except BaseException as error:
        flac.unlink(missing_ok=True)
        # libsndfile does not name the cause, but with constant arguments only the disk can fail.
        full = isinstance(error, soundfile.LibsndfileError) or getattr(error, "errno", None) == errno.ENOSPC
        if full:
            raise TransientError(ErrorCode.SCRATCH_FULL, f"No space left in {flac.parent}.") from error
        raise
