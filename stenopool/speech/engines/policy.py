"""Rules that the engines share: the length of windows, the language, the prompt, and what looks made up."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Literal, NamedTuple, Protocol, TypeVar

from stenopool.options import TranscriptionOptions
from stenopool.runtime.logs import logger
from stenopool.speech.audio.vad import Region
from stenopool.speech.transcript import HALLUCINATION_SUSPECTED, LOW_CONFIDENCE, Segment

T = TypeVar("T")
Probabilities = Mapping[str, float]
Verdict = Literal["speech", "unclear", "noise"]


class Judged(Protocol):
    """What `judge` reads of a decoded window or a segment."""

    @property
    def text(self) -> str: ...
    @property
    def avg_logprob(self) -> float | None: ...
    @property
    def no_speech_prob(self) -> float | None: ...
    @property
    def compression_ratio(self) -> float | None: ...


# Whisper's own window: no engine decodes more seconds at once.
LONGEST_WINDOW = 30.0
# Speech needs room after it, or its last words are lost: 12.4 % WER with 1 s of tail, 8.9 % with 5 s.
TAIL_SECONDS = 4.0
# Step of the lengths of frames. A window's text depends a little on its frame, so only windows with the same frame are
# decoded together: then the text does not depend on the group.
FRAME_STEP = 2.0
FRAMES_PER_SECOND = 100
# The default engine's windows: maximum speech, and maximum span. Encoding costs grow faster than a window's length
# (twice as much per second in 30 s as in 16 s), and windows cut at the ends of sentences can be short without loss.
# Where people say little, as in a call's channels, context matters more. Figures: benchmarks/README.md.
SPEECH_SECONDS = 13.0
SPAN_SECONDS = 20.0
# Maximum speech per window if each may be in another language.
SPEECH_SECONDS_PER_SEGMENT = 10.0
# WhisperX takes all of its input at once: blocks of ten minutes, cut at pauses, bound its memory.
BLOCK_SECONDS = 600.0

# Tokens that Whisper reads before a window: half of its context of 448, less the mark before them. The other half is
# for the text: without that room it ends early, or decoding fails.
HINT_TOKENS = 223

# Windows that vote on the language of a recording.
VOTERS = 5
# Below this probability a window takes its neighbours' language.
SURE = 0.5

# A text that looks unsound is decoded again at the next temperature, from this many samples.
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
BEST_OF = 5

# What looks made up: the thresholds are openai-whisper's own.
REPETITIVE = 2.4  # compression ratio above which a text goes round in circles
NO_SPEECH_PROBABLE = 0.6
IMPROBABLE = -1.0  # mean log probability of the tokens
# What is found in a pause is believed if the model is this sure of its text, and is worth a flag if the model hears
# speech. Chosen on folds of hard recordings and of sounds, checked on others: benchmarks/hard_speech.py.
_CREDIBLE, _SPEECH_HEARD = -0.5, 0.5
_SLOWEST, FASTEST = 5.0, 60.0  # bytes of text per second: a Chinese character has three, and is a syllable
# The same words at least four times running, over a stretch that nobody stammers through.
_REPEATED = re.compile(r"(\S.{0,79}?)(?: ?\1){3,}")
_LOOP_CHARACTERS = 40


def most_speech(options: TranscriptionOptions, usual: float) -> float:
    """Maximum seconds of speech per window: ``usual`` if a recording has one language."""
    return SPEECH_SECONDS_PER_SEGMENT if options.language == "per-segment" else usual


def frame_seconds(region: Region) -> float:
    """Length of the frame in which a stretch of speech is decoded: a multiple of the step, at most 30."""
    return min(LONGEST_WINDOW, FRAME_STEP * ceil((region.duration + TAIL_SECONDS) / FRAME_STEP))


def fixed_language(options: TranscriptionOptions, *, multilingual: bool) -> str | None:
    """The language, if it need not be detected. ``multilingual``: whether the model was trained on several."""
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


def spread(items: Sequence[T], most: int) -> Sequence[T]:
    """At most ``most`` items, evenly spread over the list, so that a vote covers more than the beginning."""
    if len(items) <= most:
        return items
    step = len(items) / most
    return [items[int(step * (i + 0.5))] for i in range(most)]


class Hints(NamedTuple):
    """Prompt and vocabulary as texts that together fit the model's room for them."""

    prompt: str | None
    vocabulary: str | None
    shortened: bool
    """Whether a part of them was cut off."""

    @property
    def text(self) -> str | None:
        """Both, for an engine that has one place for them."""
        return " ".join(filter(None, [self.prompt, self.vocabulary])) or None


NO_HINTS = Hints(None, None, shortened=False)


def fit_hints(
    options: TranscriptionOptions, encode: Callable[[str], list[int]], decode: Callable[[list[int]], str]
) -> Hints:
    """The options' hints, cut to their last tokens as openai-whisper cuts a prompt, at the beginning of a word or term.

    Half of the room is the prompt's, half the vocabulary's, and what one does not need is the other's.
    """
    prompt, vocabulary = (options.prompt or "").strip(), ", ".join(filter(None, options.vocabulary))
    texts = {" ": prompt, ", ": vocabulary}  # by what is between their words
    tokens = {between: encode(f" {text}") if text else [] for between, text in texts.items()}
    needed = sum(map(len, tokens.values()))
    if needed <= HINT_TOKENS:
        return Hints(prompt or None, vocabulary or None, shortened=False)
    logger.warning(
        "Prompt and vocabulary have %d tokens, and the model reads %d: their beginnings are cut off.",
        needed,
        HINT_TOKENS,
    )
    half = HINT_TOKENS // 2
    terms = min(len(tokens[", "]), max(half, HINT_TOKENS - len(tokens[" "])))
    room = {", ": terms, " ": HINT_TOKENS - terms}
    for between, found in tokens.items():
        if len(found) > room[between]:
            last = decode(found[-room[between] :]).lstrip("\ufffd")  # the rest of a letter of several tokens
            part, _, whole = last.strip().partition(between)
            # Without blanks between words, the first one may come late.
            texts[between] = whole if len(part) < len(last) / 4 else last.strip()
    return Hints(texts[" "] or None, texts[", "] or None, shortened=True)


def judge(decoded: Iterable[Judged], seconds: float) -> Verdict:
    """Whether ``seconds`` that may be speech, found in a pause, are that: by the text that was decoded from them."""
    said = [each for each in decoded if each.text.strip()]
    length = sum(len(each.text.strip().encode()) for each in said)
    if not length:
        return "noise"
    silence = max(each.no_speech_prob or 0.0 for each in said)
    if (
        silence < NO_SPEECH_PROBABLE
        and min(each.avg_logprob or 0.0 for each in said) > _CREDIBLE
        and _SLOWEST * seconds < length < FASTEST * seconds
        and not any(is_loop(each.text) or (each.compression_ratio or 0.0) > REPETITIVE for each in said)
    ):
        return "speech"
    # WhisperX does not ask whether there is speech: then nothing tells speech from noise.
    asked = all(each.no_speech_prob is not None for each in said)
    return "unclear" if asked and silence < _SPEECH_HEARD else "noise"


def find_flags(segment: Segment, speech: Sequence[Region]) -> list[str]:
    """Flags of a segment, given where there is speech in its recording (seconds).

    HALLUCINATION_SUSPECTED: the text repeats itself, is improbable where the model hears no speech, or lies where the
    voice activity detector heard none. LOW_CONFIDENCE: improbable text.
    """
    flags = []
    improbable = segment.avg_logprob is not None and segment.avg_logprob < IMPROBABLE
    if (
        (segment.compression_ratio or 0.0) > REPETITIVE
        or (improbable and (segment.no_speech_prob or 0.0) > NO_SPEECH_PROBABLE)
        or is_loop(segment.text)
        or not any(region.start < segment.end and segment.start < region.end for region in speech)
    ):
        flags.append(HALLUCINATION_SUSPECTED)
    if improbable:
        flags.append(LOW_CONFIDENCE)
    return flags


def is_loop(text: str) -> bool:
    """Whether a stretch of the text is one phrase over and over, whatever its punctuation."""
    bare = re.sub(r"[\W_]+", " ", text.lower()).strip()
    return any(len(found[0]) >= _LOOP_CHARACTERS for found in _REPEATED.finditer(bare))
