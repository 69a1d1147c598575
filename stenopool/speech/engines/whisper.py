"""Engine ``whisper``: openai-whisper, as a reference for results. Slow without a GPU.

Its ``transcribe`` runs on chunks of speech of up to 30 seconds, not on the whole file: silence is never decoded, a
day-long recording needs little memory, and each chunk may have its own language.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from stenopool.models import FoundModel
from stenopool.options import MachineOptions, TranscriptionOptions
from stenopool.speech.audio.vad import Region, chunks
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.devices import torch_device
from stenopool.speech.engines import policy
from stenopool.speech.engines.assembly import shift
from stenopool.speech.engines.base import SerialEngine
from stenopool.speech.engines.decoding import to_words
from stenopool.speech.engines.policy import Hints, Probabilities, spread, vote
from stenopool.speech.transcript import Segment


class WhisperEngine(SerialEngine):
    """Engine ``whisper``; see `Engine`."""

    name = "whisper"
    distribution = "openai-whisper"
    kind = "openai"

    def __init__(self, model: str, execution: MachineOptions) -> None:
        super().__init__(model, execution)
        self._hints = lru_cache(maxsize=4)(self._fit_hints)

    def hints(self, options: TranscriptionOptions) -> Hints:
        return self._hints(options)

    def _fit_hints(self, options: TranscriptionOptions) -> Hints:
        from whisper.tokenizer import get_tokenizer

        tokenizer = get_tokenizer(self._loaded.is_multilingual, num_languages=self._loaded.num_languages)
        return policy.fit_hints(options, tokenizer.encode, tokenizer.decode)

    def _load(self, found: FoundModel) -> Any:
        import torch
        import whisper

        if self.device == "cuda" and torch_device(self.execution).type == "cpu":
            self.device, self.compute_type = "cpu", "float32"
        if self.execution.threads:
            torch.set_num_threads(self.execution.threads)
        model = whisper.load_model(str(found.path), device=self.device)
        # whisper sets the alignment heads, which time words, only if it gets a model's name and not a path.
        if heads := whisper._ALIGNMENT_HEADS.get(Path(self.model).name.removesuffix(".pt")):
            model.set_alignment_heads(heads)
        return model

    def _recognize(
        self,
        waveform: Waveform,
        speech: Sequence[Region],
        options: TranscriptionOptions,
        temperatures: Sequence[float],
    ) -> tuple[list[Segment], tuple[str, float]]:
        cut = chunks(speech, policy.most_speech(options, policy.LONGEST_WINDOW))
        languages, of_all = self._languages(waveform, cut, options)
        segments = [
            segment
            for chunk, spoken in zip(cut, languages, strict=True)
            for segment in self._segments(waveform, chunk, spoken, options, temperatures)
        ]
        return segments, of_all

    # -- language -------------------------------------------------------------------------------------------------

    def _languages(
        self, waveform: Waveform, cut: Sequence[Region], options: TranscriptionOptions
    ) -> tuple[list[str], tuple[str, float]]:
        """The language of each chunk, and the recording's language with its probability."""
        if fixed := policy.fixed_language(options, multilingual=self._loaded.is_multilingual and not self.english_only):
            return [fixed] * len(cut), (fixed, 1.0)
        asked = cut if options.language == "per-segment" else spread(cut, policy.VOTERS)
        opinions = [(self._detect(waveform, chunk), chunk.duration) for chunk in asked]
        of_all = vote(opinions, options.languages)
        if options.language == "auto":
            return [of_all[0]] * len(cut), of_all
        return [self._spoken_in(i, cut, opinions, options) for i in range(len(cut))], of_all

    def _detect(self, waveform: Waveform, chunk: Region) -> Probabilities:
        import whisper

        samples = whisper.pad_or_trim(waveform.read(chunk.start, chunk.end))
        features = whisper.log_mel_spectrogram(samples, self._loaded.dims.n_mels).to(self._loaded.device)
        probabilities: Probabilities = self._loaded.detect_language(features)[1]
        return probabilities

    @staticmethod
    def _spoken_in(
        i: int, cut: Sequence[Region], opinions: Sequence[tuple[Probabilities, float]], options: TranscriptionOptions
    ) -> str:
        """The language of chunk ``i``: its own or, if that is uncertain, a vote of all chunks weighted by nearness."""
        language, probability = vote([opinions[i]], options.languages)
        if probability >= policy.SURE:
            return language
        near = [(opinion, chunk.start) for chunk, (opinion, _) in zip(cut, opinions, strict=True)]
        return vote(policy.weigh_neighbours(cut[i].start, near), options.languages)[0]

    # -- text -----------------------------------------------------------------------------------------------------

    def _segments(
        self,
        waveform: Waveform,
        chunk: Region,
        language: str,
        options: TranscriptionOptions,
        temperatures: Sequence[float],
    ) -> Iterator[Segment]:
        """Segments of one chunk, in the recording's time."""
        import torch

        torch.manual_seed(0)  # higher temperatures use sampling; a recording must always give the same text
        result = self._loaded.transcribe(
            waveform.read(chunk.start, chunk.end),
            language=language,
            task=options.task,
            beam_size=options.beam_size,
            best_of=policy.BEST_OF,
            temperature=tuple(temperatures),
            condition_on_previous_text=False,  # so that hallucinations are not repeated
            initial_prompt=self.hints(options).text,
            word_timestamps=options.word_timestamps != "off",
            fp16=self.compute_type == "float16",
            verbose=None,
        )
        for found in result["segments"]:
            if found["text"].strip():
                yield _segment(found, chunk, language)


def _segment(found: dict[str, Any], chunk: Region, language: str) -> Segment:
    """Convert a segment of openai-whisper; times in the padding of its window are cut to the end of the chunk."""
    length = chunk.duration
    return Segment(
        start=chunk.start + min(float(found["start"]), length),
        end=chunk.start + min(float(found["end"]), length),
        text=found["text"],
        language=language,
        avg_logprob=found["avg_logprob"],
        no_speech_prob=found["no_speech_prob"],
        compression_ratio=found["compression_ratio"],
        temperature=found["temperature"],
        words=[shift(word, chunk.start) for word in to_words(found.get("words", []), length)],
    )
