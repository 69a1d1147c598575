"""Call `silence_whisperx` before WhisperX is imported."""

import logging
import os


def silence_whisperx() -> None:
    """Keep WhisperX's log off standard output, and its dependencies from sending telemetry."""
    # WhisperX adds a handler on stdout unless its logger has a handler.
    logger = logging.getLogger("whisperx")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.ERROR)
    # It would advise, at every load, to rewrite a file in the whisperx package.
    logging.getLogger("lightning.pytorch.utilities.migration.utils").setLevel(logging.WARNING)
    os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")
