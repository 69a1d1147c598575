"""Audio for the transcript's page: small enough to lie beside it, and played by every browser."""

from pathlib import Path

import soundfile

from stenopool.audio import ffmpeg
from stenopool.errors import ErrorCode, StenopoolError, TransientError
from stenopool.settings import get_settings


def player_audio(flac: Path, out: Path) -> None:
    """Write prepared audio as mono MP3 at 32 kbit/s (14 MB an hour); its times are those of the transcript.

    Raises `TransientError` (SCRATCH_FULL) and `StenopoolError` (DECODE_TIMEOUT, INPUT_CORRUPT); then ``out`` is gone.
    """
    bounds, seconds = get_settings().audio, soundfile.info(str(flac)).duration
    patience = bounds.decode_timeout + seconds / 10
    try:
        with flac.open("rb") as file:
            report = ffmpeg.run(
                file,
                [
                    *("-protocol_whitelist", "fd", "-f", "flac", *ffmpeg.INPUT),
                    *("-ac", "1", "-c:a", "libmp3lame", "-b:a", "32k", "-map_metadata", "-1", "-fflags", "+bitexact"),
                    *("-f", "mp3", "-y", ffmpeg.file_url(out)),
                ],
                seconds=lambda: patience,
                most_seconds=patience,
                memory=bounds.decode_memory,
                writes=2**20 + 2 * round(4000 * seconds),
            )
        if "No space left" in report.messages:
            raise TransientError(ErrorCode.SCRATCH_FULL, f"No space left in {out.parent}.")
        if report.code:
            raise StenopoolError(ErrorCode.INPUT_CORRUPT, f"ffmpeg wrote no MP3: {report.messages.strip()[-200:]}")
    except TimeoutError as error:
        out.unlink(missing_ok=True)
        raise StenopoolError(ErrorCode.DECODE_TIMEOUT, "Encoding the page's audio took too long.") from error
    except BaseException:
        out.unlink(missing_ok=True)
        raise
