"""What the public Whisper models were trained to do, by name. A model's vocabulary alone promises more.

Sources: openai-whisper's README and model card (turbo "is not trained for translation"; English-only forms end in
`.en`; `yue` since large-v3), and the model cards of distil-whisper ("English speech recognition").
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from stenopool.languages import language_names

ENGLISH = frozenset({"en"})


class ModelFacts(NamedTuple):
    """The languages that a model transcribes, and whether it translates them into English."""

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
    """The public name in a model's name, a repository's or a folder's: `Systran/faster-whisper-turbo` is `turbo`."""
    name = model.rstrip("/").rpartition("/")[2].lower().removesuffix(".pt")
    name = re.sub(r"^(?:faster-)?(distil-)?whisper-", r"\1", name)
    return re.sub(r"(?:[-_](?:ct2|ctranslate2|int8|float16|fp16))+$", "", name)


def facts_of(model: str) -> ModelFacts | None:
    """What is known of a model by its name; None for one that somebody else made."""
    name = published_name(model)
    return ModelFacts(ENGLISH, False) if name.endswith(".en") else _KNOWN.get(name)


def facts_of_languages(codes: Iterable[str]) -> ModelFacts:
    """What a model of somebody else's is taken for, if its vocabulary has tokens for these languages."""
    return ModelFacts(_ALL.intersection(codes), True)


def multilingual_form(model: str) -> str:
    """The public multilingual model to use instead of an English one: `tiny` for `tiny.en`, else large-v3."""
    name = published_name(model).removesuffix(".en").removeprefix("distil-")
    return name if name in _KNOWN else "large-v3"
