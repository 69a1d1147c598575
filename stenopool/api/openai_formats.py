"""Transcripts in OpenAI's response formats, and as the events of its streams."""

import json
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal, get_args

from stenopool.languages import language_names
from stenopool.options import SubtitleOptions
from stenopool.speech.renderers import render
from stenopool.speech.transcript import Segment, Transcript, Word

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"]
RESPONSE_FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)
_LEAST_PROBABILITY = 1e-10  # whose logarithm JSON can hold


def format_transcript(
    transcript: Transcript,
    format: ResponseFormat,
    granularities: Collection[str],
    subtitles: SubtitleOptions = SubtitleOptions(),  # noqa: B008 (frozen)
    *,
    logprobs: bool = False,
) -> str | dict[str, Any]:
    """Return the body of the response: a string for text, srt and vtt, else an object.

    ``logprobs``: add log probabilities to json.
    """
    text = transcript.text.strip()
    if format == "srt" or format == "vtt":
        return render(transcript, format, subtitles)
    if format == "text":
        return f"{text}\n"
    answer: dict[str, Any] = {"text": text, "usage": {"type": "duration", "seconds": transcript.duration}}
    if format == "json":
        return answer | ({"logprobs": _format_logprobs(transcript.word_segments)} if logprobs else {})
    task = transcript.provenance.options.get("task", "transcribe") if transcript.provenance else "transcribe"
    answer |= {"task": task, "duration": transcript.duration}
    if format == "diarized_json":
        return answer | {"segments": [_format_diarized(segment) for segment in transcript.segments]}
    # Of a translation, OpenAI gives the language that it is in.
    language = "en" if task == "translate" else transcript.language or "unknown"
    answer["language"] = language_names().get(language, language)
    if "segment" in granularities or not granularities:
        answer["segments"] = [_format_verbose(segment) for segment in transcript.segments]
    if "word" in granularities:
        answer["words"] = [
            {"word": word.word.strip(), "start": word.start, "end": word.end}
            for word in transcript.word_segments
            if word.start is not None and word.end is not None
        ]
    return answer


def format_deltas(
    transcript: Transcript, *, after: int = 0, logprobs: bool = False, speakers: bool = False
) -> Iterator[str]:
    """Yield the events for the segments as server-sent events; their texts together are the whole text.

    ``after``: how many segments were sent before. ``speakers``: each segment is also an event with its speaker, as for
    diarized_json.
    """
    text, at = transcript.text.strip(), 0
    for number, segment in enumerate(transcript.segments):
        said = segment.text.strip()
        begin = text.find(said, at) if said else -1
        if begin < 0:  # only if a text is not that of its segments
            continue
        end = begin + len(said)
        delta: dict[str, Any] = {"type": "transcript.text.delta", "delta": text[at:end]}
        at = end
        if number < after:
            continue
        if logprobs:
            delta["logprobs"] = _format_logprobs(segment.words)
        if speakers:
            delta["segment_id"] = f"seg_{segment.id}"
        yield format_event(delta)
        if speakers:
            yield format_event(_format_diarized(segment))


def format_done(transcript: Transcript, *, logprobs: bool = False) -> str:
    """Return the last event, with the whole text."""
    done: dict[str, Any] = {"type": "transcript.text.done", "text": transcript.text.strip()}
    if logprobs:
        done["logprobs"] = _format_logprobs(transcript.word_segments)
    return format_event(done)


def format_event(event: dict[str, Any]) -> str:
    """Return one server-sent event. OpenAI's clients read its type from the data."""
    return f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"


def _format_logprobs(words: Sequence[Word]) -> list[dict[str, Any]]:
    """Return the log probabilities of words; OpenAI returns those of tokens."""
    return [
        {
            "token": word.word,
            "bytes": [*word.word.encode()],
            "logprob": math.log(max(word.probability, _LEAST_PROBABILITY)),
        }
        for word in words
        if word.probability is not None
    ]


def _format_diarized(segment: Segment) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{segment.id}",
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "speaker": segment.speaker or "UNKNOWN",
    }


def _format_verbose(segment: Segment) -> dict[str, Any]:
    return {
        "id": segment.id,
        "seek": 0,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": [],
        "temperature": segment.temperature or 0.0,
        # OpenAI's clients expect numbers; these are harmless if an engine returns none.
        "avg_logprob": segment.avg_logprob if segment.avg_logprob is not None else 0.0,
        "compression_ratio": segment.compression_ratio if segment.compression_ratio is not None else 1.0,
        "no_speech_prob": segment.no_speech_prob if segment.no_speech_prob is not None else 0.0,
    }
