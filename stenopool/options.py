"""What to transcribe how: `TranscriptionOptions` (makes the fingerprint) and `ExecutionOptions` (does not).

Every choice that changes a transcript is in the first, and nothing else is. How the work is done here
(device, threads, formats, limits) is in the second. The same field names are used by the command line, the
API, the Prefect form and saved profiles.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from stenopool.languages import LANGUAGES

EngineName = Literal["faster-whisper", "whisper", "whisperx"]
DiarizerName = Literal["off", "senko", "pyannote", "channels"]
Format = Literal["json", "srt", "vtt", "txt", "tsv", "rttm", "html"]
# Blanks around a list's items are no part of them: `agent, customer` names two channels.
Item = Annotated[str, StringConstraints(strip_whitespace=True)]
FORMATS: tuple[Format, ...] = ("json", "srt", "vtt", "txt", "tsv", "rttm", "html")


class TranscriptionOptions(BaseModel):
    """Every choice that changes a transcript. Frozen; equal options give equal fingerprints on every machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Annotated[
        EngineName,
        Field(description="Speech engine: faster-whisper (no torch, fastest), whisper (openai-whisper) or whisperx."),
    ] = "faster-whisper"
    model: Annotated[
        str,
        Field(
            min_length=1,
            description="Whisper model: tiny, base, small, medium, large-v3, turbo, ..., their .en forms, or a folder.",
        ),
    ] = "base"
    language: Annotated[
        str,
        Field(
            description="Language spoken: a code such as en or de, auto (one language per recording, decided by vote) "
            "or per-segment (several languages in one recording)."
        ),
    ] = "auto"
    languages: Annotated[
        tuple[Item, ...],
        Field(description="Languages that auto and per-segment may choose from; empty: all that the model knows."),
    ] = ()
    task: Annotated[
        Literal["transcribe", "translate"],
        Field(description="transcribe keeps the language spoken; translate writes English."),
    ] = "transcribe"
    beam_size: Annotated[int, Field(ge=1, le=20, description="Beam width of the decoder; 1 is greedy.")] = 5
    prompt: Annotated[
        str | None,
        Field(max_length=2000, description="Text that sets style and spelling, put before each window."),
    ] = None
    vocabulary: Annotated[
        tuple[Item, ...], Field(description="Names and terms that are likely to be said, spelled as wanted.")
    ] = ()
    diarization: Annotated[
        DiarizerName,
        Field(
            description="Who speaks when: senko (offline, no token), pyannote (token or local folder), "
            "channels (one speaker per channel) or off."
        ),
    ] = "senko"
    speakers: Annotated[int | None, Field(ge=1, le=50, description="Exact number of speakers, where known.")] = None
    min_speakers: Annotated[int | None, Field(ge=1, le=50, description="Minimum number of speakers.")] = None
    max_speakers: Annotated[int | None, Field(ge=1, le=50, description="Maximum number of speakers.")] = None
    channels: Annotated[
        Literal["mix", "split"],
        Field(description="mix all channels into one, or split: transcribe each channel separately."),
    ] = "mix"
    channel_names: Annotated[
        tuple[Item, ...],
        Field(description="Names for the channels in order, e.g. agent, customer; used as speakers with split."),
    ] = ()
    word_timestamps: Annotated[
        Literal["off", "attention", "alignment"],
        Field(
            description="Times for words: attention (from the engine), alignment (wav2vec2 where a model for the "
            "language is at hand, else attention, and the transcript says which) or off."
        ),
    ] = "attention"
    hallucinations: Annotated[
        Literal["flag", "drop"], Field(description="What to do with segments that look made up.")
    ] = "flag"

    @model_validator(mode="before")
    @classmethod
    def _channels_and_diarization_imply_each_other(cls, data: Any) -> Any:
        """Let a person say one of the two: speakers by channel need split channels, and the other way round."""
        if isinstance(data, dict):
            if data.get("diarization") == "channels" and "channels" not in data:
                return {**data, "channels": "split"}
            if data.get("channels") == "split" and "diarization" not in data:
                return {**data, "diarization": "channels"}
        return data

    @field_validator("language")
    @classmethod
    def _known_language(cls, value: str) -> str:
        if value not in ("auto", "per-segment") and value not in LANGUAGES:
            raise ValueError(f"language {value!r} is not known: use auto, per-segment or a code such as en, de, zh")
        return value

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [code for code in value if code not in LANGUAGES]
        if unknown:
            raise ValueError(f"languages {', '.join(unknown)} are not known: use codes such as en, de, zh")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _options_agree(self) -> Self:
        def refuse(one: str, other: str, why: str) -> None:
            raise ValueError(f"{one} and {other} do not go together: {why}")

        if self.diarization == "channels" and self.channels == "mix":
            refuse("diarization=channels", "channels=mix", "speakers by channel need channels=split")
        if self.channels == "split" and self.diarization not in ("channels", "off"):
            refuse(
                "channels=split",
                f"diarization={self.diarization}",
                "a split channel is one speaker; use channels or off",
            )
        bounded = [n for n in ("speakers", "min_speakers", "max_speakers") if getattr(self, n) is not None]
        if bounded and self.diarization in ("off", "channels"):
            refuse(bounded[0], f"diarization={self.diarization}", "nothing is counted there")
        if self.speakers is not None and len(bounded) > 1:
            refuse("speakers", bounded[1], "give the exact number or bounds, not both")
        if self.min_speakers and self.max_speakers and self.min_speakers > self.max_speakers:
            refuse(
                f"min_speakers={self.min_speakers}",
                f"max_speakers={self.max_speakers}",
                "the least exceeds the most",
            )
        if self.channel_names and self.channels == "mix":
            refuse("channel_names", "channels=mix", "names belong to split channels")
        if self.languages and self.language not in ("auto", "per-segment"):
            refuse(f"language={self.language}", "languages", "an allow-list is for auto and per-segment")
        if self.model.endswith(".en"):
            if self.language in ("auto", "per-segment") and self.languages not in ((), ("en",)):
                refuse(
                    f"model={self.model}",
                    f"languages={','.join(self.languages)}",
                    "the model knows English only",
                )
            if self.language not in ("en", "auto"):
                refuse(f"model={self.model}", f"language={self.language}", "the model knows English only")
            if self.task == "translate":
                refuse(f"model={self.model}", "task=translate", "the model knows English only")
        _refuse_what_the_engine_cannot(self)
        return self


# What an engine cannot honour, as (option, values refused, reason). Refused here, never ignored there.
_ENGINE_LIMITS: dict[str, tuple[tuple[str, frozenset[Any], str], ...]] = {
    "faster-whisper": (),
    "whisper": (),
    "whisperx": (
        ("language", frozenset({"per-segment"}), "whisperX decodes a recording in one language"),
        ("word_timestamps", frozenset({"off"}), "whisperX exists to time words"),
    ),
}


def _refuse_what_the_engine_cannot(options: TranscriptionOptions) -> None:
    for field, refused, why in _ENGINE_LIMITS[options.engine]:
        value = getattr(options, field)
        if value in refused:
            raise ValueError(f"engine={options.engine} cannot honour {field}={value}: {why}")
    if options.word_timestamps == "alignment" and options.task == "translate":
        raise ValueError(
            "task=translate and word_timestamps=alignment do not go together: the words are not the ones spoken"
        )


class MachineOptions(BaseModel):
    """Where models run, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Annotated[
        Literal["auto", "cpu", "cuda"], Field(description="Where models run; auto takes CUDA if usable.")
    ] = "auto"
    compute_type: Annotated[
        Literal["auto", "int8", "int8_float16", "float16", "float32"],
        Field(description="Number format of the weights; auto: float16 on CUDA, int8 on CPU (float32 for whisper)."),
    ] = "auto"
    threads: Annotated[int, Field(ge=0, le=256, description="CPU threads for models; 0: all cores.")] = 0
    batch_size: Annotated[int, Field(ge=0, le=256, description="Windows decoded together; 0: chosen by device.")] = 0

    @property
    def machine(self) -> "MachineOptions":
        """These alone, out of larger options: what loaded models depend on."""
        return MachineOptions.model_validate(self.model_dump(include={*MachineOptions.model_fields}))


class SubtitleOptions(BaseModel):
    """How SRT and WebVTT files look. The names are those of openai-whisper's command line."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_line_width: Annotated[
        int, Field(ge=1, description="Maximum number of characters in a subtitle line, including the speaker's label.")
    ] = 42
    max_line_count: Annotated[int, Field(ge=1, description="Maximum number of lines in a subtitle.")] = 2
    max_words_per_line: Annotated[
        int | None, Field(ge=1, description="Maximum number of words in a subtitle line; empty: any number.")
    ] = None
    highlight_words: Annotated[bool, Field(description="Underline each word in subtitles while it is spoken.")] = False


class ExecutionOptions(SubtitleOptions, MachineOptions):
    """How the work is done here. Outside the fingerprint: changing these makes no recording pending again."""

    formats: Annotated[tuple[Format, ...], Field(description="Files written for each recording; json is always.")] = (
        FORMATS
    )
    max_duration: Annotated[float, Field(gt=0, description="Longest recording taken, in seconds.")] = 12 * 3600.0
    max_bytes: Annotated[int, Field(gt=0, description="Largest file taken, in bytes.")] = 8 * 1024**3

    @field_validator("formats")
    @classmethod
    def _json_always(cls, value: tuple[Format, ...]) -> tuple[Format, ...]:
        """The JSON is what every other format can be made from again, so it is never left out."""
        return tuple(f for f in FORMATS if f in value or f == "json")
