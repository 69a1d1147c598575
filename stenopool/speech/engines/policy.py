"""Rules that the engines share: how much is decoded at once, which language it is in, and what the model is told."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from stenopool.options import TranscriptionOptions

T = TypeVar("T")
Probabilities = Mapping[str, float]

# Whisper's own window: no engine decodes more seconds at once.
LONGEST_WINDOW = 30.0
# The default engine's windows: most speech, and longest span. Encoding costs more than in proportion to a window's
# length (twice as much per second in 30 s as in 16 s), and cut at the ends of sentences, short windows say no less than
# long ones. Where people say little, as in a call's channels, what they said before matters more.
# benchmarks/README.md has the figures.
SPEECH_SECONDS = 13.0
SPAN_SECONDS = 20.0
# Speech decoded at once where each window may be in another language.
SPEECH_SECONDS_PER_SEGMENT = 10.0
# WhisperX takes a whole recording at once; given ten minutes of it, cut at a pause, its memory is bounded.
BLOCK_SECONDS = 600.0

# Windows that are asked for the language of a recording.
VOTERS = 5
# Below this a window's own opinion on its language gives way to its neighbours'.
SURE = 0.5

# Where a text looks unsound, it is decoded again with the next temperature, from this many samples.
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BEST_OF = 5


def most_speech(options: TranscriptionOptions, usual: float) -> float:
    """Seconds of speech that are decoded at once, ``usual`` where a recording has one language."""
    return SPEECH_SECONDS_PER_SEGMENT if options.language == "per-segment" else usual


def fixed_language(options: TranscriptionOptions, *, multilingual: bool) -> str | None:
    """The language of everything, where nothing has to be detected; ``multilingual`` is the model."""
    if not multilingual:
        return "en"
    return None if options.language in ("auto", "per-segment") else options.language


def vote(opinions: Iterable[tuple[Probabilities, float]], allowed: Iterable[str] = ()) -> tuple[str, float]:
    """The language with the most probability over (probabilities, weight) pairs, and its share of the whole.

    ``allowed`` restricts the choice; empty allows all. Weights are seconds of speech. No opinion: ``("en", 0.0)``.
    """
    permitted = frozenset(allowed)
    total: dict[str, float] = {}
    for probabilities, weight in opinions:
        for code, probability in probabilities.items():
            if not permitted or code in permitted:
                total[code] = total.get(code, 0.0) + probability * weight
    mass = sum(total.values())
    if not mass:
        return (min(permitted) if permitted else "en"), 0.0
    best = max(sorted(total), key=total.__getitem__)
    return best, total[best] / mass


def weigh_neighbours(
    position: float, opinions: Iterable[tuple[Probabilities, float]]
) -> Iterator[tuple[Probabilities, float]]:
    """(probabilities, position in seconds) pairs as (probabilities, weight) pairs: the nearer, the more weight."""
    for probabilities, where in opinions:
        yield probabilities, 1.0 / (1.0 + abs(where - position))


def spread(items: list[T], most: int) -> list[T]:
    """At most ``most`` items, evenly spread over the list, so that a vote hears more than the beginning."""
    if len(items) <= most:
        return items
    step = len(items) / most
    return [items[int(step * (i + 0.5))] for i in range(most)]


def hotwords(options: TranscriptionOptions) -> str | None:
    """The vocabulary as one text."""
    return ", ".join(options.vocabulary) or None


def prompt_with_hotwords(options: TranscriptionOptions) -> str | None:
    """Prompt and vocabulary as one text, for an engine that has one place for both."""
    return " ".join(filter(None, [options.prompt, hotwords(options)])) or None
