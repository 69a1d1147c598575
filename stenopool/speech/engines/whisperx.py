"""Engine ``whisperx``: WhisperX's voice activity detection and batched decoding, called as a library.

Its command line may report the wrong language and keeps all results in memory. Words get attention times here;
`stenopool.speech.engines.alignment` refines them with WhisperX's alignment if requested.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import lru_cache
from io import StringIO
from typing import Any

from stenopool.models import FoundModel
from stenopool.options import MachineOptions, TranscriptionOptions
from stenopool.speech.audio.vad import Region, chunks
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.engines import policy
from stenopool.speech.engines.alignment import silence_whisperx
from stenopool.speech.engines.assembly import build_segments, shift
from stenopool.speech.engines.base import SerialEngine
from stenopool.speech.engines.decoding import Decoder, WindowResult
from stenopool.speech.engines.policy import Hints, spread, vote
from stenopool.speech.transcript import Segment

# WhisperX's ratio: speech ends when the detector's probability is below this fraction of the threshold.
_OFFSET = 0.363 / 0.5


class WhisperXEngine(SerialEngine):
    """Engine ``whisperx``; see `Engine`. One utterance at a time: its pipeline keeps state."""

    name = "whisperx"
    distribution = "whisperx"
    kind = "ctranslate2"

    def __init__(self, model: str, execution: MachineOptions) -> None:
        super().__init__(model, execution)
        self._decoder = lru_cache(maxsize=4)(
            lambda options: Decoder(self._loaded.model, options, english_only=self.english_only)
        )

    def hints(self, options: TranscriptionOptions) -> Hints:
        return self._decoder(options).hints

    def _load(self, found: FoundModel) -> Any:
        silence_whisperx()
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")  # about torchcodec, which is not used
            from whisperx.asr import load_model

            threads = self.execution.threads or os.cpu_count() or 1
            return load_model(
                str(found.path), self.device, compute_type=self.compute_type, vad_method="pyannote", threads=threads
            )

    def _recognize(
        self,
        waveform: Waveform,
        speech: Sequence[Region],
        options: TranscriptionOptions,
        temperatures: Sequence[float],  # noqa: ARG002
    ) -> tuple[list[Segment], tuple[str, float]]:
        decoder = self._decoder(options)
        language, probability = self._language(waveform, speech, decoder)
        self._loaded.options = replace(
            self._loaded.options,
            beam_size=options.beam_size,
            initial_prompt=decoder.hints.prompt,
            hotwords=decoder.hints.vocabulary,
        )
        segments = [
            segment
            for block in chunks(speech, policy.BLOCK_SECONDS)
            for segment in self._segments(waveform, block, language, decoder)
        ]
        return segments, (language, probability)

    def _language(self, waveform: Waveform, speech: Sequence[Region], decoder: Decoder) -> tuple[str, float]:
        """The language in the options, or the vote of several windows; WhisperX itself uses only the first window."""
        if decoder.fixed_language:
            return decoder.fixed_language, 1.0
        opinions = []
        for window in spread(chunks(speech, policy.LONGEST_WINDOW), policy.VOTERS):
            encoded = decoder.encode([waveform.read(window.start, window.end)], policy.LONGEST_WINDOW)
            opinions.append((decoder.languages(encoded)[0], window.duration))
        return vote(opinions, decoder.options.languages)

    def _segments(self, waveform: Waveform, block: Region, language: str, decoder: Decoder) -> Iterator[Segment]:
        """Segments of one block of the recording, in the recording's time."""
        onset = decoder.options.vad_threshold
        self._loaded._vad_params.update(vad_onset=onset, vad_offset=onset * _OFFSET)
        # WhisperX prints when it finds no speech.
        with _remember_encoded(self._loaded.model) as encoded, redirect_stdout(StringIO()):
            windows = self._loaded.transcribe(
                waveform.read(block.start, block.end),
                batch_size=self.execution.batch_size or (8 if self.device == "cpu" else 16),
                language=language,
                task=decoder.options.task,
                chunk_size=round(policy.LONGEST_WINDOW),
            )["segments"]
            tokenizer = decoder.tokenizer(language)
            decoded = [_to_result(window, language, tokenizer) for window in windows]
            first = 0
            for output in encoded:
                last = first + output.shape[0]
                lengths = [window["end"] - window["start"] for window in windows[first:last]]
                decoder.time_words(output, decoded[first:last], lengths)
                first = last
        for window, said in zip(windows, decoded, strict=True):
            for segment in build_segments(Region(window["start"], window["end"]), said):
                yield segment.model_copy(
                    update={
                        "start": block.start + segment.start,
                        "end": block.start + segment.end,
                        "no_speech_prob": None,  # WhisperX does not return it
                        "words": [shift(word, block.start) for word in segment.words],
                    }
                )


@contextmanager
def _remember_encoded(whisper: Any) -> Iterator[list[Any]]:
    """Collect the model's encoder outputs in the list, so that words can be timed without encoding again."""
    memory: list[Any] = []
    encode = whisper.encode

    def encode_and_remember(features: Any) -> Any:
        memory.append(encode(features))
        return memory[-1]

    whisper.encode = encode_and_remember
    try:
        yield memory
    finally:
        del whisper.encode  # restores the method of the class


def _to_result(window: dict[str, Any], language: str, tokenizer: Any) -> WindowResult:
    """Convert a window of WhisperX. It returns no tokens, so its text is tokenized again to time the words."""
    text = window["text"]
    return WindowResult(
        language=language,
        text=text,
        tokens=tokenizer.encode(text),
        avg_logprob=float(window["avg_logprob"]),
        no_speech_prob=0.0,
    )
