"""What has to be set before WhisperX is imported, by its engine and by alignment."""

import logging
import os


def quiet() -> None:
    """Before WhisperX is imported: keep its log off our standard output, and its parts from calling home."""
    # whisperX gives its logger a handler on stdout unless it has one already.
    logger = logging.getLogger("whisperx")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.ERROR)
    # It would advise, at every load, to rewrite a file inside the whisperx package.
    logging.getLogger("lightning.pytorch.utilities.migration.utils").setLevel(logging.WARNING)
    os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")
