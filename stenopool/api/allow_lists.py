"""Restricts which models, engines and diarizers requests may choose, because workers download and load them."""

from typing import get_args

from stenopool.api.problems import invalid
from stenopool.errors import ErrorCode, OptionsInvalid
from stenopool.options import DiarizerName, EngineName, TranscriptionOptions
from stenopool.settings import ApiSettings


class AllowLists:
    """Allowed values of some options, by name, and the installation's defaults.

    Raises `OptionsInvalid` if a setting contains an unknown name.
    """

    def __init__(self, settings: ApiSettings) -> None:
        for setting, given, known in (
            ("ENGINES", settings.engines, get_args(EngineName)),
            ("DIARIZERS", settings.diarizers, get_args(DiarizerName)),
        ):
            if unknown := set(given) - set(known):
                raise OptionsInvalid(
                    f"STENOPOOL_API__{setting} contains unknown names: {', '.join(sorted(unknown))}.",
                    remedy=f"Choose from {', '.join(known)}.",
                )
        if not settings.engines:
            raise OptionsInvalid("STENOPOOL_API__ENGINES is empty.", remedy="Name at least one engine.")
        # Only WhisperX aligns words, with a model for each language.
        aligned = ("alignment",) if "whisperx" in settings.engines else ()
        self.allowed = {
            "model": list(dict.fromkeys((settings.model, *settings.models))),
            "engine": list(settings.engines),
            "diarization": list(dict.fromkeys(("off", *settings.diarizers))),
            "word_timestamps": ["off", "attention", *aligned],
        }
        self.defaults = {"model": settings.model}
        for option in ("engine", "diarization"):
            if TranscriptionOptions.model_fields[option].default not in self.allowed[option]:
                self.defaults[option] = self.allowed[option][0]

    def check(self, options: TranscriptionOptions) -> None:
        """Raises the problem 422, listing the fields, for options that are not allowed here."""
        errors = [
            {"field": name, "message": f"{getattr(options, name)} is not allowed here: use {', '.join(values)}"}
            for name, values in self.allowed.items()
            if getattr(options, name) not in values
        ]
        if errors:
            remedy = "GET /v1/options lists what is allowed; STENOPOOL_API__MODELS, __ENGINES, __DIARIZERS add to it."
            raise invalid("The options are not allowed here.", ErrorCode.OPTIONS_INVALID, remedy=remedy, errors=errors)
