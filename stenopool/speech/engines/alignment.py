"""Time words with WhisperX's forced alignment by wav2vec2 (Bain et al. 2023, https://arxiv.org/abs/2303.00747)."""

import logging
import os
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from stenopool import models
from stenopool.errors import ModelMissing
from stenopool.languages import NO_SPACE_LANGUAGES, find_blanks
from stenopool.speech.audio.waveform import SAMPLE_RATE, Waveform
from stenopool.speech.engines.assembly import shift
from stenopool.speech.transcript import ALIGNMENT_UNAVAILABLE, Segment, Transcript, Word

# Attention times are slightly too narrow, and alignment needs all of the words within its audio.
_MARGIN_SECONDS = 0.2


def align(transcript: Transcript, waveform: Waveform, language: str | None, device: str) -> Transcript:
    """Return the transcript with its words timed by alignment instead of attention.

    A segment is aligned in its own language, else in ``language``. If there is no model for it, or alignment fails, its
    words keep their times; the flag ALIGNMENT_UNAVAILABLE marks a missing model. Words that cannot be aligned have no
    times. Raises `SetupError` MODEL_CORRUPT or MODEL_GATED.
    """
    spoken = [segment.language or language for segment in transcript.segments]
    missing = any(code is None or _model(code, device) is None for code in spoken)
    segments = [
        _align_segment(segment, waveform, code, device) if code else segment
        for segment, code in zip(transcript.segments, spoken, strict=True)
    ]
    flags = transcript.flags
    if missing and ALIGNMENT_UNAVAILABLE not in flags:
        flags = [*flags, ALIGNMENT_UNAVAILABLE]
    return transcript.model_copy(update={"segments": segments, "flags": flags})


@lru_cache(maxsize=4)
def _model(language: str, device: str) -> tuple[Any, Any] | None:
    """Model and WhisperX's metadata for a language, or None if there is no model."""
    try:
        found = models.find(language, "wav2vec2")
    except ModelMissing:
        return None
    silence_whisperx()
    from whisperx import alignment

    # WhisperX splits segments into sentences with a tokenizer that nltk downloads. These are sentences already.
    alignment.nltk_load = lambda _: SimpleNamespace(span_tokenize=lambda text: [(0, len(text))])
    model, metadata = alignment.load_align_model(language, device, model_name=str(found.path), model_cache_only=True)
    return model.eval(), metadata


def silence_whisperx() -> None:
    """Keep WhisperX's log off standard output, and disable telemetry in its dependencies. Call before importing it."""
    # WhisperX adds a handler on stdout unless its logger has a handler.
    logger = logging.getLogger("whisperx")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.ERROR)
    # At every load, it would advise to rewrite a file in the whisperx package.
    logging.getLogger("lightning.pytorch.utilities.migration.utils").setLevel(logging.WARNING)
    os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")


def _align_segment(segment: Segment, waveform: Waveform, language: str, device: str) -> Segment:
    loaded = _model(language, device)
    if loaded is None or not segment.text.strip():
        return segment
    from whisperx.alignment import align as align_words

    start = max(0.0, segment.start - _MARGIN_SECONDS)
    samples = waveform.read(start, segment.end + _MARGIN_SECONDS)
    given = {"start": 0.0, "end": len(samples) / SAMPLE_RATE, "text": segment.text.strip()}
    found = align_words([given], *loaded, samples, device)["word_segments"]
    texts = [each["word"] for each in found]
    # WhisperX omits spaces, including those in languages usually written without, e.g. between Latin words.
    blanks = find_blanks(texts, segment.text) or [language not in NO_SPACE_LANGUAGES] * len(texts)
    words = [
        shift(
            Word(word=" " * blank + text, start=each.get("start"), end=each.get("end"), probability=each.get("score")),
            start,
        )
        for each, text, blank in zip(found, texts, blanks, strict=True)
    ]
    times = [time for word in words for time in (word.start, word.end) if time is not None]
    if not times:
        return segment
    return segment.model_copy(update={"start": min(times), "end": max(times), "words": words})
