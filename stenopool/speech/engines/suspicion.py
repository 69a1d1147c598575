"""Which segments look made up. One rule for all engines; the thresholds are openai-whisper's own."""

import re
from collections.abc import Sequence

from stenopool.speech.audio.vad import Region
from stenopool.speech.transcript import HALLUCINATION_SUSPECTED, LOW_CONFIDENCE, Segment

REPETITIVE = 2.4  # compression ratio above which a text goes round in circles
NO_SPEECH_PROBABLE = 0.6
IMPROBABLE = -1.0  # mean log probability of the tokens
# The same words at least four times running, over a stretch that nobody stammers through.
_REPEATED = re.compile(r"(\S.{0,79}?)(?: ?\1){3,}")
_LOOP_CHARACTERS = 40


def find_flags(segment: Segment, speech: Sequence[Region]) -> list[str]:
    """Flags of a segment, given where there is speech in its recording (seconds).

    HALLUCINATION_SUSPECTED: the text repeats itself, is improbable where the model hears no speech, or lies where the
    voice activity detector heard none. LOW_CONFIDENCE: improbable text.
    """
    flags = []
    improbable = segment.avg_logprob is not None and segment.avg_logprob < IMPROBABLE
    if (
        (segment.compression_ratio or 0.0) > REPETITIVE
        or (improbable and (segment.no_speech_prob or 0.0) > NO_SPEECH_PROBABLE)
        or is_loop(segment.text)
        or not any(region.start < segment.end and segment.start < region.end for region in speech)
    ):
        flags.append(HALLUCINATION_SUSPECTED)
    if improbable:
        flags.append(LOW_CONFIDENCE)
    return flags


def is_loop(text: str) -> bool:
    """Whether a stretch of the text is one phrase over and over, whatever its punctuation."""
    bare = re.sub(r"[\W_]+", " ", text.lower()).strip()
    return any(len(found[0]) >= _LOOP_CHARACTERS for found in _REPEATED.finditer(bare))
