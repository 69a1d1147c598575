"""From what was decoded to a transcript: sentences, flags, numbers. The same for every engine."""

from collections.abc import Iterator, Sequence

from stenopool.options import TranscriptionOptions
from stenopool.speech.audio.vad import Region
from stenopool.speech.engines import sentences
from stenopool.speech.engines.decoding import WindowResult
from stenopool.speech.engines.suspicion import find_flags
from stenopool.speech.transcript import HALLUCINATION_SUSPECTED, NO_SPEECH, Segment, Transcript, Word


def build_segments(region: Region, decoded: WindowResult) -> Iterator[Segment]:
    """Segments of one decoded window: a sentence each where words have times, else the window as it is."""
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
    for words in sentences.split(decoded.words):
        shifted = [shift(word, region.start) for word in words]
        start = min((word.start for word in shifted if word.start is not None), default=region.start)
        end = max((word.end for word in shifted if word.end is not None), default=region.end)
        text = "".join(word.word for word in words)
        yield whole.model_copy(update={"start": start, "end": end, "text": text, "words": shifted})


def shift(word: Word, seconds: float) -> Word:
    """The word, this many seconds later; a missing time stays missing."""
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
    language: str | None,
    language_probability: float | None,
    duration: float,
) -> Transcript:
    """The transcript of one utterance, with suspect segments flagged or, if the options say so, dropped."""
    flagged = [segment.model_copy(update={"flags": find_flags(segment, speech)}) for segment in segments]
    if options.hallucinations == "drop":
        flagged = [segment for segment in flagged if HALLUCINATION_SUSPECTED not in segment.flags]
    if options.word_timestamps == "off":
        flagged = [segment.model_copy(update={"words": []}) for segment in flagged]
    numbered = [segment.model_copy(update={"id": number}) for number, segment in enumerate(flagged)]
    return Transcript(
        text="".join(segment.text for segment in numbered).strip(),
        language=language,
        language_probability=language_probability,
        duration=duration,
        segments=numbered,
        flags=[] if numbered else [NO_SPEECH],
    )
