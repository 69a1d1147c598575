"""What the public Whisper models were trained for, by name. Their vocabulary alone suggests more.

Sources: openai-whisper's README and model card (turbo "is not trained for translation"; English-only variants end in
`.en`; `yue` since large-v3), and the model cards of distil-whisper ("English speech recognition").
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from stenopool.languages import language_names

ENGLISH = frozenset({"en"})


class ModelFacts(NamedTuple):
    """The languages that a model transcribes, and whether it can translate them into English."""

    languages: frozenset[str]
    translates: bool


_ALL = frozenset(language_names())
_EARLIER = _ALL - {"yue"}
_KNOWN = {
    **dict.fromkeys(("tiny", "base", "small", "medium", "large-v1", "large-v2"), ModelFacts(_EARLIER, True)),
    **dict.fromkeys(("large-v3", "large"), ModelFacts(_ALL, True)),
    **dict.fromkeys(("large-v3-turbo", "turbo"), ModelFacts(_ALL, False)),
    **dict.fromkeys(("distil-large-v2", "distil-large-v3", "distil-large-v3.5"), ModelFacts(ENGLISH, False)),
}


def published_name(model: str) -> str:
    """The public name of a model, repository or folder: `Systran/faster-whisper-turbo` is `turbo`."""
    name = model.rstrip("/").rpartition("/")[2].lower().removesuffix(".pt")
    name = re.sub(r"^(?:faster-)?(distil-)?whisper-", r"\1", name)
    return re.sub(r"(?:[-_](?:ct2|ctranslate2|int8|float16|fp16))+$", "", name)


def facts_of(model: str) -> ModelFacts | None:
    """Facts about a model by its name; None for a model that is not public."""
    name = published_name(model)
    return ModelFacts(ENGLISH, False) if name.endswith(".en") else _KNOWN.get(name)


def facts_of_languages(codes: Iterable[str]) -> ModelFacts:
    """Assumed facts about another model whose vocabulary has tokens for these languages."""
    return ModelFacts(_ALL.intersection(codes), True)


def multilingual_form(model: str) -> str:
    """The public multilingual model to use instead of an English-only one: `tiny` for `tiny.en`, otherwise large-v3."""
    name = published_name(model).removesuffix(".en").removeprefix("distil-")
    return name if name in _KNOWN else "large-v3"
