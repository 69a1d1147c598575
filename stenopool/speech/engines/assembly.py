"""Build a transcript from decoded windows, for every engine: sentences, flags and numbers."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from stenopool.languages import ends_clause, ends_sentence, join_texts, strip_closing
from stenopool.options import TranscriptionOptions
from stenopool.speech.audio.vad import Region
from stenopool.speech.engines.decoding import WindowResult
from stenopool.speech.engines.pauses import keep_to_speech
from stenopool.speech.engines.policy import NO_HINTS, Hints, find_flags
from stenopool.speech.transcript import (
    HALLUCINATION_SUSPECTED,
    NO_SPEECH,
    PROMPT_SHORTENED,
    SPEECH_UNCLEAR,
    Segment,
    Span,
    Transcript,
    Word,
)

PAUSE_SECONDS = 1.0
LONG_SECONDS = 12.0


def build_segments(region: Region, decoded: WindowResult, speech: Sequence[Region] = ()) -> Iterator[Segment]:
    """Segments of one decoded window: one per sentence if it has words, else the whole window.

    ``speech``: the regions of speech in the recording, in seconds; see `keep_to_speech`.
    """
    if not decoded.text.strip():
        return
    whole = Segment(
        start=region.start,
        end=region.end,
        text=decoded.text,
        language=decoded.language,
        avg_logprob=decoded.avg_logprob,
        no_speech_prob=decoded.no_speech_prob,
        compression_ratio=decoded.compression_ratio,
        temperature=decoded.temperature,
    )
    if not decoded.words:
        yield whole
        return
    timed = keep_to_speech([shift(word, region.start) for word in decoded.words], speech)
    for words in split_sentences(timed):
        yield _with_words(whole.model_copy(update={"text": "".join(word.word for word in words)}), words)


def cut_pauses(segment: Segment, speech: Sequence[Region]) -> Segment:
    """The segment without the pauses that its words last over; see `keep_to_speech`."""
    words = keep_to_speech(segment.words, speech)
    return segment if words == segment.words else _with_words(segment, words)


def _with_words(segment: Segment, words: list[Word]) -> Segment:
    """The segment with these words, from the start of the first to the end of the last."""
    start = min((word.start for word in words if word.start is not None), default=segment.start)
    end = max((word.end for word in words if word.end is not None), default=segment.end)
    return segment.model_copy(update={"start": start, "end": end, "words": words})


def shift(word: Word, seconds: float) -> Word:
    """Move the word by this many seconds. Missing times stay missing."""
    return word.model_copy(
        update={
            "start": None if word.start is None else round(word.start + seconds, 3),
            "end": None if word.end is None else round(word.end + seconds, 3),
        }
    )


def build_transcript(
    segments: Sequence[Segment],
    speech: Sequence[Region],
    options: TranscriptionOptions,
    *,
    language: tuple[str, float] | None,
    duration: float,
    missed: Sequence[Region] = (),
    hints: Hints = NO_HINTS,
) -> Transcript:
    """Build the transcript of one utterance, with suspect segments flagged or, with hallucinations=drop, removed.

    ``language``: the recording's language and its probability; None without speech. ``missed``: possible speech without
    text.
    """
    flagged = [segment.model_copy(update={"flags": find_flags(segment, speech)}) for segment in segments]
    if options.hallucinations == "drop":
        flagged = [segment for segment in flagged if HALLUCINATION_SUSPECTED not in segment.flags]
    if options.word_timestamps == "off":
        flagged = [segment.model_copy(update={"words": []}) for segment in flagged]
    numbered = [segment.model_copy(update={"id": number}) for number, segment in enumerate(flagged)]
    return Transcript(
        text=join_texts(segment.text for segment in numbered),
        language=language[0] if language else None,
        language_probability=language[1] if language else None,
        duration=duration,
        segments=numbered,
        flags=[
            flag
            for flag, raised in (
                (NO_SPEECH, not numbered),
                (SPEECH_UNCLEAR, missed),
                (PROMPT_SHORTENED, hints.shortened),
            )
            if raised
        ],
        untranscribed=[Span(start=region.start, end=region.end) for region in missed],
    )


def split_sentences(words: Sequence[Word]) -> list[list[Word]]:
    """Cut after sentences, at pauses of over a second, and at clauses if a segment is longer than 12 seconds."""
    segments: list[list[Word]] = [[]]
    for word, following in zip_longest(words, words[1:]):
        segments[-1].append(word)
        if following and _ends_here(segments[-1], word, following):
            segments.append([])
    return segments


def _ends_here(current: Sequence[Word], word: Word, following: Word) -> bool:
    spoken = (word.end or 0.0) - (current[0].start or 0.0)
    pause = following.start - word.end if following.start is not None and word.end is not None else 0.0
    if pause > PAUSE_SECONDS:
        return True
    if ends_sentence(word.word) and not _is_abbreviation(word.word, following):
        return True
    return spoken > LONG_SECONDS and ends_clause(word.word)


def _is_abbreviation(text: str, following: Word) -> bool:
    """Whether the full stop does not end a sentence: ``Mr. Smith``, ``3. 5``, ``U.S. army``."""
    bare = strip_closing(text).strip()
    if not bare.endswith("."):
        return False
    after = following.word.strip()
    if after[:1].islower():
        return True
    stem = bare.rstrip(".")
    return (len(stem) <= 3 and stem.lower() in {"mr", "mrs", "ms", "dr", "st", "jr", "sr", "no", "vs"}) or (
        len(stem) == 1 and stem.isalpha() and stem.isupper()
    )
