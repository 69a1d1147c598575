"""Rules shared by all engines: window lengths, language votes, the prompt, and the detection of hallucinations."""

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
    """The fields of a decoded window or a segment that `judge` uses."""

    @property
    def text(self) -> str: ...
    @property
    def avg_logprob(self) -> float | None: ...
    @property
    def no_speech_prob(self) -> float | None: ...
    @property
    def compression_ratio(self) -> float | None: ...


# Whisper's window: no engine decodes more seconds at once.
LONGEST_WINDOW = 30.0
# Speech needs padding after it, or its last words are lost: 12.4 % WER with 1 s of padding, 8.9 % with 5 s.
TAIL_SECONDS = 4.0
# Step of the frame lengths. A window's text depends slightly on its frame length, so only windows with the same length
# are decoded together. Then the text does not depend on the group.
FRAME_STEP = 2.0
FRAMES_PER_SECOND = 100
# The default engine's windows: maximum speech, and maximum span. Encoding time grows faster than a window's length
# (twice as much per second in 30 s as in 16 s), and windows cut at the ends of sentences can be short without loss.
# If people say little, as in a call's channels, context matters more. Figures: benchmarks/README.md.
SPEECH_SECONDS = 13.0
SPAN_SECONDS = 20.0
# Maximum speech per window if each may be in another language.
SPEECH_SECONDS_PER_SEGMENT = 10.0
# WhisperX reads all of its input at once: blocks of ten minutes, cut at pauses, limit its memory.
BLOCK_SECONDS = 600.0

# Tokens that Whisper reads before a window: half of its context of 448, minus the token that introduces them. The other
# half is for the text, which would otherwise end early, or decoding would fail.
HINT_TOKENS = 223

# Windows that vote on the language of a recording.
VOTERS = 5
# Below this probability a window takes its neighbours' language.
SURE = 0.5

# A text that looks wrong is decoded again at the next temperature, with this many samples.
_TEMPERATURE_STEP, _HIGHEST_TEMPERATURE = 0.2, 1.0
BEST_OF = 5

# Thresholds for hallucinations: those of openai-whisper.
REPETITIVE = 2.4  # compression ratio above which a text repeats itself
NO_SPEECH_PROBABLE = 0.6
IMPROBABLE = -1.0  # mean log probability of the tokens
# Text from a pause is accepted if its mean log probability is above _CREDIBLE. Otherwise it is flagged if the model's
# probability of no speech is below _SPEECH_HEARD. Chosen on folds of hard recordings and of sounds, checked on others:
# benchmarks/hard_speech.py.
_CREDIBLE, _SPEECH_HEARD = -0.5, 0.5
_SLOWEST, FASTEST = 5.0, 60.0  # bytes of text per second; a Chinese character has three bytes, and is a syllable
# The same words at least four times in a row, over a length that stammering does not reach.
_REPEATED = re.compile(r"(\S.{0,79}?)(?: ?\1){3,}")
_LOOP_CHARACTERS = 40


def most_speech(options: TranscriptionOptions, usual: float) -> float:
    """Maximum seconds of speech per window; ``usual`` if a recording has one language."""
    return SPEECH_SECONDS_PER_SEGMENT if options.language == "per-segment" else usual


def frame_seconds(region: Region) -> float:
    """Length of the frame in which a region is decoded, in seconds: a multiple of the step, at most 30."""
    return min(LONGEST_WINDOW, FRAME_STEP * ceil((region.duration + TAIL_SECONDS) / FRAME_STEP))


def find_temperatures(options: TranscriptionOptions) -> tuple[float, ...]:
    """The temperatures to decode at, in this order, until a text is plausible, in the steps of openai-whisper."""
    steps = int((_HIGHEST_TEMPERATURE - options.temperature) / _TEMPERATURE_STEP + 1e-6)
    return tuple(round(options.temperature + step * _TEMPERATURE_STEP, 3) for step in range(steps + 1))


def fixed_language(options: TranscriptionOptions, *, multilingual: bool) -> str | None:
    """The language, if it does not need to be detected. ``multilingual``: whether the model was trained on several."""
    if not multilingual:
        return "en"
    return None if options.language in ("auto", "per-segment") else options.language


def vote(opinions: Iterable[tuple[Probabilities, float]], allowed: Iterable[str] = ()) -> tuple[str, float]:
    """The language with the highest total probability over (probabilities, weight) pairs, and its share of the total.

    ``allowed`` restricts the choice; empty allows all. Weights are seconds of speech. Without opinions, the result is
    ``("en", 0.0)``.
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
    """Convert (probabilities, position in seconds) pairs to (probabilities, weight) pairs; nearer ones weigh more."""
    for probabilities, where in opinions:
        yield probabilities, 1.0 / (1.0 + abs(where - position))


def spread(items: Sequence[T], most: int) -> Sequence[T]:
    """Select at most ``most`` items, spread evenly over the list, so that a vote covers more than the beginning."""
    if len(items) <= most:
        return items
    step = len(items) / most
    return [items[int(step * (i + 0.5))] for i in range(most)]


class Hints(NamedTuple):
    """Prompt and vocabulary, cut so that together they fit the model's limit."""

    prompt: str | None
    vocabulary: str | None
    shortened: bool
    """Whether a part of them was cut off."""

    @property
    def text(self) -> str | None:
        """Both texts joined, for engines that accept only one."""
        return " ".join(filter(None, [self.prompt, self.vocabulary])) or None


NO_HINTS = Hints(None, None, shortened=False)


def fit_hints(
    options: TranscriptionOptions, encode: Callable[[str], list[int]], decode: Callable[[list[int]], str]
) -> Hints:
    """Cut prompt and vocabulary to their last tokens, like openai-whisper, at the beginning of a word or term.

    Each may use half of the tokens, and also those that the other does not need.
    """
    prompt, vocabulary = (options.prompt or "").strip(), ", ".join(filter(None, options.vocabulary))
    texts = {" ": prompt, ", ": vocabulary}  # by the separator of their words or terms
    tokens = {between: encode(f" {text}") if text else [] for between, text in texts.items()}
    needed = sum(map(len, tokens.values()))
    if needed <= HINT_TOKENS:
        return Hints(prompt or None, vocabulary or None, shortened=False)
    logger.warning(
        "Prompt and vocabulary have %d tokens, but the model reads only %d: their beginnings are cut off.",
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
            # In a language without spaces, the first separator may come late.
            texts[between] = whole if len(part) < len(last) / 4 else last.strip()
    return Hints(texts[" "] or None, texts[", "] or None, shortened=True)


def judge(decoded: Iterable[Judged], seconds: float) -> Verdict:
    """Decide by the decoded text whether ``seconds`` of possible speech, found in a pause, are speech."""
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
    # WhisperX does not detect whether there is speech, so speech cannot be separated from noise.
    asked = all(each.no_speech_prob is not None for each in said)
    return "unclear" if asked and silence < _SPEECH_HEARD else "noise"


def find_flags(segment: Segment, speech: Sequence[Region]) -> list[str]:
    """Flags of a segment, given the regions of speech in its recording.

    HALLUCINATION_SUSPECTED: the text repeats itself, is improbable where the model detects no speech, or is outside the
    speech found by the voice activity detector. LOW_CONFIDENCE: the text is improbable.
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
    """Whether part of the text repeats one phrase over and over, ignoring punctuation."""
    bare = re.sub(r"[\W_]+", " ", text.lower()).strip()
    return any(len(found[0]) >= _LOOP_CHARACTERS for found in _REPEATED.finditer(bare))
