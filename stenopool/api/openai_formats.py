"""Transcripts in OpenAI's response formats."""

from collections.abc import Collection
from typing import Any, Literal, get_args

from stenopool.languages import language_names
from stenopool.options import SubtitleOptions
from stenopool.speech.renderers import render
from stenopool.speech.transcript import Segment, Transcript

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"]
RESPONSE_FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)


def format_transcript(
    transcript: Transcript,
    format: ResponseFormat,
    granularities: Collection[str],
    subtitles: SubtitleOptions = SubtitleOptions(),  # noqa: B008 (frozen)
) -> str | dict[str, Any]:
    """Return the body of the response: a string for text, srt and vtt, else an object."""
    text = transcript.text.strip()
    if format == "srt" or format == "vtt":
        return render(transcript, format, subtitles)
    if format == "text":
        return f"{text}\n"
    answer: dict[str, Any] = {"text": text, "usage": {"type": "duration", "seconds": transcript.duration}}
    if format == "json":
        return answer
    answer |= {"task": "transcribe", "duration": transcript.duration}
    if format == "diarized_json":
        return answer | {"segments": [_format_diarized(segment) for segment in transcript.segments]}
    answer["language"] = language_names().get(transcript.language or "", transcript.language or "unknown")
    if "segment" in granularities or not granularities:
        answer["segments"] = [_format_verbose(segment) for segment in transcript.segments]
    if "word" in granularities:
        answer["words"] = [
            {"word": word.word.strip(), "start": word.start, "end": word.end}
            for word in transcript.word_segments
            if word.start is not None and word.end is not None
        ]
    return answer


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
