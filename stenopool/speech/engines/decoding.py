"""Decode windows with CTranslate2's Whisper: encode once, detect the language, decode text, time the words."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from stenopool.languages import APPENDED, PREPENDED, SENTENCE_END
from stenopool.options import TranscriptionOptions
from stenopool.speech.audio.waveform import SAMPLE_RATE, Samples
from stenopool.speech.engines import policy
from stenopool.speech.engines.policy import Probabilities
from stenopool.speech.transcript import Word

MAX_TOKENS = 448


@dataclass
class WindowResult:
    """The text of one window. Times are seconds from its start."""

    language: str
    text: str
    tokens: list[int]
    avg_logprob: float
    no_speech_prob: float
    temperature: float = 0.0
    words: list[Word] = field(default_factory=list)
    probabilities: Probabilities = field(default_factory=dict)
    """Probabilities of languages."""

    @property
    def compression_ratio(self) -> float:
        """Size of the text divided by its compressed size; high for repetitive text (openai-whisper's measure)."""
        data = self.text.strip().encode()
        return len(data) / len(zlib.compress(data)) if data else 0.0


class Decoder:
    """Thin layer over a loaded ``faster_whisper.WhisperModel``, for windows shorter than 30 seconds.

    Thread-safe: CTranslate2 queues calls to its own workers.
    """

    def __init__(self, whisper: Any, options: TranscriptionOptions, *, english_only: bool = False) -> None:
        self.whisper = whisper
        self.options = options
        self.english_only = english_only
        self.multilingual: bool = whisper.model.is_multilingual
        self.on_cpu: bool = whisper.model.device == "cpu"
        # Building a tokenizer costs milliseconds, and a batch may need it thousands of times.
        self.tokenizer = lru_cache(maxsize=None)(self._tokenizer)

    @property
    def fixed_language(self) -> str | None:
        """The language, if it does not need to be detected."""
        return policy.fixed_language(self.options, multilingual=self.multilingual and not self.english_only)

    @cached_property
    def hints(self) -> policy.Hints:
        """Prompt and vocabulary for each window."""
        tokenizer = self.tokenizer("en")
        return policy.fit_hints(self.options, tokenizer.encode, tokenizer.decode)

    def _tokenizer(self, language: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        return Tokenizer(self.whisper.hf_tokenizer, self.multilingual, task=self.options.task, language=language)

    def encode(self, windows: Sequence[Samples], frame: float) -> Any:
        """Encoder output of windows zero-padded to ``frame`` seconds; shape (n, frames / 2, width)."""
        features = [self._features(window, frame) for window in windows]
        if self.on_cpu and len(features) > 1:
            # One at a time: attention over several windows does not fit into a core's cache (18 s: 1.3 times the time,
            # measured with benchmarks/sweep.py).
            return stack_outputs([self._encode(one) for one in features])
        return self._encode(np.concatenate(features))

    def _features(self, window: Samples, frame: float) -> Any:
        """Mel spectrogram of one window, zero-padded to ``frame`` seconds; shape (1, mels, frames)."""
        padded = np.zeros(round(frame * SAMPLE_RATE), np.float32)
        padded[: len(window)] = window[: len(padded)]
        return self.whisper.feature_extractor(padded)[None, :, : round(frame * policy.FRAMES_PER_SECOND)]

    def _encode(self, features: Any) -> Any:
        from ctranslate2 import StorageView

        return self.whisper.model.encode(StorageView.from_array(np.ascontiguousarray(features)), to_cpu=False)

    def languages(self, encoded: Any) -> list[dict[str, float]]:
        """Probabilities of languages for each window."""
        if not self.multilingual:
            return [{"en": 1.0}] * encoded.shape[0]
        return [
            {token[2:-2]: probability for token, probability in opinions}
            for opinions in self.whisper.model.detect_language(encoded)
        ]

    def decode(self, encoded: Any, languages: Sequence[str], durations: Sequence[float]) -> list[WindowResult]:
        """Text and words of each window, in the language given for it."""
        from faster_whisper.transcribe import get_suppressed_tokens

        tokenizers = [self.tokenizer(language) for language in languages]
        results = self.whisper.model.generate(
            encoded,
            [self.prompt(tokenizer) for tokenizer in tokenizers],
            suppress_tokens=list(get_suppressed_tokens(tokenizers[0], [-1])),
            return_scores=True,
            return_no_speech_prob=True,
            max_length=MAX_TOKENS,
            **self._search(),
        )
        temperature = self.options.temperature
        decoded = [
            self._result(result, language, temperature) for result, language in zip(results, languages, strict=True)
        ]
        self.time_words(encoded, decoded, durations)
        return decoded

    def decode_carefully(self, window: Samples, language: str) -> WindowResult:
        """Decode one window in the full 30 seconds, with rising temperatures until the text is plausible."""
        tokenizer = self.tokenizer(language)
        encoded = self.encode([window], policy.LONGEST_WINDOW)
        result, _, temperature, _ = self.whisper.generate_with_fallback(
            encoded, self.prompt(tokenizer), tokenizer, self._careful_options(tokenizer)
        )
        decoded = self._result(result, language, temperature)
        self.time_words(encoded, [decoded], [len(window) / SAMPLE_RATE])
        return decoded

    def _search(self) -> dict[str, Any]:
        """The search for a text: with beams, or by sampling at a temperature, as in faster-whisper."""
        if not self.options.temperature:
            return {"beam_size": self.options.beam_size}
        return {
            "beam_size": 1,
            "num_hypotheses": policy.BEST_OF,
            "sampling_topk": 0,
            "sampling_temperature": self.options.temperature,
        }

    def _result(self, result: Any, language: str, temperature: float) -> WindowResult:
        """Convert a result of CTranslate2, without words."""
        tokenizer, ids = self.tokenizer(language), result.sequences_ids[0]
        tokens = [token for token in ids if token < tokenizer.eot]
        return WindowResult(
            language=language,
            text=tokenizer.decode(tokens),
            tokens=tokens,
            avg_logprob=result.scores[0] * len(ids) / (len(ids) + 1),
            no_speech_prob=result.no_speech_prob,
            temperature=temperature,
        )

    def _careful_options(self, tokenizer: Any) -> Any:
        """faster-whisper's options. Its fallback reads only these; the others are unset."""
        from faster_whisper.transcribe import TranscriptionOptions as Theirs
        from faster_whisper.transcribe import get_suppressed_tokens

        unread = dict.fromkeys(Theirs.__dataclass_fields__)
        return Theirs(
            **unread
            | {
                "beam_size": self.options.beam_size,
                "best_of": policy.BEST_OF,
                "patience": 1.0,
                "length_penalty": 1.0,
                "repetition_penalty": 1.0,
                "no_repeat_ngram_size": 0,
                "log_prob_threshold": policy.IMPROBABLE,
                "no_speech_threshold": policy.NO_SPEECH_PROBABLE,
                "compression_ratio_threshold": policy.REPETITIVE,
                "temperatures": [*policy.find_temperatures(self.options)],
                "suppress_blank": True,
                "suppress_tokens": list(get_suppressed_tokens(tokenizer, [-1])),
                "max_initial_timestamp": 1.0,
            }
        )

    def prompt(self, tokenizer: Any) -> list[int]:
        """Tokens before the text: prompt and vocabulary, then language and task."""
        prompt: list[int] = self.whisper.get_prompt(
            tokenizer,
            previous_tokens=tokenizer.encode(f" {self.hints.prompt}") if self.hints.prompt else [],
            without_timestamps=True,
            hotwords=self.hints.vocabulary,
        )
        return prompt

    def time_words(self, encoded: Any, decoded: Sequence[WindowResult], durations: Sequence[float]) -> None:
        """Set each result's words, timed by cross-attention (dynamic time warping, as in openai-whisper)."""
        groups: dict[tuple[str, int], list[int]] = {}
        for i, result in enumerate(decoded):
            # `align` takes one start sequence, and so one language, per batch. It pads all rows to the longest, which
            # changes probabilities slightly; and a looping text has hundreds of tokens, with 90 MB of memory per row.
            groups.setdefault((result.language, len(result.tokens)), []).append(i)
        for rows in groups.values():
            part = encoded if len(groups) == 1 else _rows(encoded, rows)
            self._time(part, [decoded[i] for i in rows], [durations[i] for i in rows])

    def _time(self, encoded: Any, decoded: Sequence[WindowResult], durations: Sequence[float]) -> None:
        from faster_whisper.transcribe import merge_punctuations

        tokenizer = self.tokenizer(decoded[0].language)
        frames = [max(2, round(duration * policy.FRAMES_PER_SECOND)) for duration in durations]
        found = self.whisper.find_alignment(tokenizer, [result.tokens for result in decoded], encoded, frames)
        for result, words, duration in zip(decoded, found, durations, strict=True):
            _shorten_long_words(words)
            merge_punctuations(words, PREPENDED, APPENDED)
            result.words = to_words(words, duration)


def to_words(found: Sequence[dict[str, Any]], most: float) -> list[Word]:
    """Convert words of faster-whisper or openai-whisper; times in a window's padding become ``most`` seconds."""
    return [
        Word(
            word=word["word"],
            start=min(float(word["start"]), most),
            end=min(float(word["end"]), most),
            probability=float(word["probability"]),
        )
        for word in found
        if word["word"]
    ]


def stack_outputs(encoded: Sequence[Any]) -> Any:
    """Join encoder outputs of equal length, on the CPU."""
    from ctranslate2 import StorageView

    return StorageView.from_array(np.concatenate([np.asarray(each) for each in encoded]))


def _rows(encoded: Any, rows: Sequence[int]) -> Any:
    from ctranslate2 import Device, StorageView

    # StorageView cannot be indexed: take the rows on the CPU; `align` moves them to the model's device.
    whole = np.asarray(encoded.to_device(Device.cpu))
    return StorageView.from_array(np.ascontiguousarray(whole[list(rows)]))


def _shorten_long_words(words: list[dict[str, Any]]) -> None:
    """Remove pauses from words next to sentence marks and from the first word (openai-whisper's heuristic)."""
    lengths = sorted(word["end"] - word["start"] for word in words if word["end"] > word["start"])
    if not lengths:
        return
    longest = 2 * min(0.7, lengths[len(lengths) // 2])
    for i, word in enumerate(words):
        if word["end"] - word["start"] <= longest:
            continue
        if i == 0 or words[i - 1]["word"] in SENTENCE_END:
            word["start"] = word["end"] - longest
        elif word["word"] in SENTENCE_END:
            word["end"] = word["start"] + longest
