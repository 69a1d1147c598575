"""Audio for the transcript's page: small, and playable in every browser."""

import errno
from pathlib import Path

import numpy as np
import soundfile

from stenopool.errors import ErrorCode, TransientError

_BITS = 24_000
_BLOCK_SECONDS = 10


def player_audio(flac: Path, out: Path) -> None:
    """Write prepared audio as mono WebM/Opus at 24 kbit/s (11 MB an hour); its times are those of the transcript.

    Not with the ffmpeg program: the FLAC is trusted, and starting ffmpeg costs as much as encoding ten seconds. LAME
    takes three times as long. Raises `TransientError` (SCRATCH_FULL); on any error ``out`` is deleted.
    """
    import av

    try:
        with soundfile.SoundFile(flac) as file, av.open(str(out), "w", format="webm") as container:
            # 0.6 of the time of `voip`.
            options = {"application": "audio", "compression_level": "0", "frame_duration": "60"}
            stream = container.add_stream("libopus", rate=file.samplerate, layout="mono", options=options)
            stream.bit_rate = _BITS
            position = 0
            for block in file.blocks(file.samplerate * _BLOCK_SECONDS, dtype="int16", always_2d=True):
                mono = block.mean(axis=1).astype(np.int16) if block.shape[1] > 1 else block[:, 0]
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(mono[None]), format="s16", layout="mono")
                frame.sample_rate, frame.pts = file.samplerate, position
                position += len(mono)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except BaseException as error:
        out.unlink(missing_ok=True)
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise TransientError(ErrorCode.SCRATCH_FULL, f"No space left in {out.parent}.") from error
        raise
