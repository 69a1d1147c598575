"""A transcript in the response formats of OpenAI's API reference."""

from collections.abc import Collection
from typing import Any, Literal, get_args

from stenopool.languages import language_names
from stenopool.options import SubtitleOptions
from stenopool.speech.renderers import render
from stenopool.speech.transcript import Transcript

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"]
RESPONSE_FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)

# These mean this installation's default.
_OPENAI_MODELS = ("whisper-1", "gpt-4o-", "gpt-")


def is_openai_model(model: str) -> bool:
    """Whether a model's name is one of OpenAI's."""
    return model.startswith(_OPENAI_MODELS)


def format_transcript(
    transcript: Transcript,
    format: ResponseFormat,
    granularities: Collection[str],
    subtitles: SubtitleOptions = SubtitleOptions(),  # noqa: B008 (frozen)
) -> str | dict[str, Any]:
    """The body of the answer: text for text, srt and vtt, else an object."""
    match format:
        case "srt" | "vtt":
            return render(transcript, format, subtitles)
        case "text":
            return f"{transcript.text.strip()}\n"
        case "json":
            return {"text": transcript.text.strip(), "usage": _usage(transcript)}
        case "verbose_json":
            return _format_verbose(transcript, granularities)
        case "diarized_json":
            return _format_diarized(transcript)


def _format_verbose(transcript: Transcript, granularities: Collection[str]) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "task": "transcribe",
        "language": language_names().get(transcript.language or "", transcript.language or "unknown"),
        "duration": transcript.duration,
        "text": transcript.text.strip(),
        "usage": _usage(transcript),
    }
    if "segment" in granularities or not granularities:
        shape["segments"] = [
            {
                "id": segment.id,
                "seek": 0,
                "start": segment.start,
                "end": segment.end,
                "text": segment.text,
                "tokens": [],
                "temperature": segment.temperature or 0.0,
                # OpenAI's clients expect numbers; these are harmless where an engine gives none.
                "avg_logprob": segment.avg_logprob if segment.avg_logprob is not None else 0.0,
                "compression_ratio": segment.compression_ratio if segment.compression_ratio is not None else 1.0,
                "no_speech_prob": segment.no_speech_prob if segment.no_speech_prob is not None else 0.0,
            }
            for segment in transcript.segments
        ]
    if "word" in granularities:
        shape["words"] = [
            {"word": word.word.strip(), "start": word.start, "end": word.end}
            for word in transcript.word_segments
            if word.start is not None and word.end is not None
        ]
    return shape


def _format_diarized(transcript: Transcript) -> dict[str, Any]:
    return {
        "task": "transcribe",
        "duration": transcript.duration,
        "text": transcript.text.strip(),
        "segments": [
            {
                "type": "transcript.text.segment",
                "id": f"seg_{segment.id}",
                "start": segment.start,
                "end": segment.end,
                "text": segment.text,
                "speaker": segment.speaker or "UNKNOWN",
            }
            for segment in transcript.segments
        ],
        "usage": _usage(transcript),
    }


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": transcript.duration}
