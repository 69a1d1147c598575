"""Whether options suit their model, according to what is known about public models and yours. Needs no weights."""

from stenopool import models
from stenopool.errors import OptionsInvalid
from stenopool.languages import language_names
from stenopool.options import TranscriptionOptions
from stenopool.whisper_models import ENGLISH, ModelFacts, facts_of


def check_options(options: TranscriptionOptions) -> None:
    """Refuse options that this model does not support. Works on machines without weights.

    Raises `OptionsInvalid`, which names two options and what would work instead.
    """
    check_model(options, facts_of(options.model))
    if (
        options.engine == "whisper"
        and facts_of(options.model)
        and "/" not in options.model
        and not models.is_known(options.model, "openai")
    ):
        raise OptionsInvalid(
            f"engine=whisper and model={options.model} cannot be combined: openai-whisper has no such checkpoint.",
            remedy="Use it with engine faster-whisper or whisperx, or use another model.",
        )
    languages = aligned_languages(options)
    if languages and not any(models.is_known(code, "wav2vec2") for code in languages):
        named = f"languages={','.join(options.languages)}" if options.languages else f"language={languages[0]}"
        raise OptionsInvalid(
            f"{named} and word_timestamps=alignment cannot be combined: no model aligns "
            f"{', '.join(language_names()[code].title() for code in languages)}.",
            remedy="Use word_timestamps=attention, or put a wav2vec2 model for the language below "
            f"STENOPOOL_MODELS__PATH, as wav2vec2/{languages[0]}.",
        )


def check_model(options: TranscriptionOptions, facts: ModelFacts | None) -> None:
    """Raise `OptionsInvalid` if a model with these facts does not support the options; without facts, do nothing."""
    try:
        if facts:
            options.check_model(facts)
    except ValueError as error:
        raise OptionsInvalid(f"{error}.") from error


def aligned_languages(options: TranscriptionOptions) -> tuple[str, ...]:
    """The languages whose words may be aligned; empty if alignment is not requested, or if any language is possible."""
    if options.word_timestamps != "alignment":
        return ()
    if (facts := facts_of(options.model)) and facts.languages == ENGLISH:
        return ("en",)
    return options.languages if options.language in ("auto", "per-segment") else (options.language,)
