"""Engine ``whisperx``: WhisperX's voice activity detection and batched decoding, called as a library.

Not its command line, which may stamp the wrong language and keeps all results in memory. Words get attention times
here; `stenopool.speech.engines.alignment` refines them with WhisperX's alignment where it is asked for.
"""

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from importlib.metadata import version
from io import StringIO
from threading import Lock
from typing import Any

from stenopool import models
from stenopool.errors import Failure
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.vad import Region, chunks, speech_regions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.engines.assembly import build_segments, build_transcript, shift
from stenopool.speech.engines.base import Utterance
from stenopool.speech.engines.decoding import Decoder, WindowResult, compression_ratio
from stenopool.speech.engines.faults import to_failure
from stenopool.speech.engines.language import spread, vote
from stenopool.speech.engines.placement import placement
from stenopool.speech.transcript import NO_SPEECH, Segment, Transcript

_WINDOW_SECONDS = 30.0
_VOTERS = 5
# WhisperX takes a whole recording at once; given ten minutes of it, cut at a pause, its memory is bounded.
_BLOCK_SECONDS = 600.0


class WhisperXEngine:
    """Engine ``whisperx``; see `Engine`. One utterance at a time: its pipeline keeps state."""

    concurrent = False

    def __init__(self, model: str, execution: ExecutionOptions) -> None:
        self.model = model
        self.execution = execution
        self.version = version("whisperx")
        self.device, self.compute_type = placement(execution, engine="whisperx")
        self.model_digest: str | None = None
        self._pipeline: Any = None
        self._lock = Lock()

    def load(self) -> None:
        if self._pipeline is not None:
            return
        found = models.find(self.model, "ctranslate2")
        self.model_digest = found.digest
        quiet()
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")  # of torchcodec, which nothing here decodes with
            from whisperx.asr import load_model

            from stenopool.speech.engines.whisperx_model import RememberingModel

            threads = self.execution.threads or os.cpu_count() or 1
            whisper = RememberingModel(
                str(found.path), device=self.device, compute_type=self.compute_type, cpu_threads=threads
            )
            self._pipeline = load_model(str(found.path), self.device, model=whisper, vad_method="pyannote")

    def transcribe(
        self, batch: Iterable[Utterance], options: TranscriptionOptions
    ) -> Iterator[tuple[Utterance, Transcript | Failure]]:
        self.load()
        for utterance in batch:
            result: Transcript | Failure
            try:
                with self._lock:
                    result = self._transcribe(utterance.waveform, options)
            except Exception as error:
                result = to_failure(error, utterance, self.device)
            yield utterance, result

    def _transcribe(self, waveform: Waveform, options: TranscriptionOptions) -> Transcript:
        speech = speech_regions(waveform)
        if not speech:
            return Transcript(duration=waveform.duration, flags=[NO_SPEECH])
        decoder = Decoder(self._pipeline.model, options)
        language, probability = self._language(waveform, speech, decoder)
        self._pipeline.options = replace(
            self._pipeline.options,
            beam_size=options.beam_size,
            initial_prompt=options.prompt,
            hotwords=", ".join(options.vocabulary) or None,
        )
        segments = [
            segment
            for block in chunks(speech, _BLOCK_SECONDS)
            for segment in self._segments(waveform, block, language, decoder)
        ]
        return build_transcript(
            segments,
            speech,
            options,
            language=language,
            language_probability=probability,
            duration=waveform.duration,
        )

    def _language(self, waveform: Waveform, speech: Sequence[Region], decoder: Decoder) -> tuple[str, float]:
        """The language fixed in the options, or the vote of several windows: WhisperX hears only the first."""
        options = decoder.options
        if not decoder.multilingual:
            return "en", 1.0
        if options.language != "auto":
            return options.language, 1.0
        opinions = []
        for window in spread(chunks(speech, _WINDOW_SECONDS), _VOTERS):
            encoded = decoder.encode([waveform.read(window.start, window.end)], _WINDOW_SECONDS)
            opinions.append((decoder.languages(encoded)[0], window.duration))
        return vote(opinions, options.languages)

    def _segments(self, waveform: Waveform, block: Region, language: str, decoder: Decoder) -> Iterator[Segment]:
        """Segments of one block of the recording, in the recording's time."""
        whisper = self._pipeline.model
        samples = waveform.read(block.start, block.end)
        with whisper.remembering() as encoded, redirect_stdout(StringIO()):  # it prints when it finds no speech
            windows = self._pipeline.transcribe(
                samples,
                batch_size=self.execution.batch_size or (8 if self.device == "cpu" else 16),
                language=language,
                task=decoder.options.task,
                chunk_size=round(_WINDOW_SECONDS),
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
                        "no_speech_prob": None,  # whisperX does not ask for it
                        "words": [shift(word, block.start) for word in segment.words],
                    }
                )


def _to_result(window: dict[str, Any], language: str, tokenizer: Any) -> WindowResult:
    """WhisperX gives no tokens; those of its text serve to time the words."""
    text = window["text"]
    return WindowResult(
        language=language,
        probabilities={},
        text=text,
        tokens=tokenizer.encode(text),
        avg_logprob=float(window["avg_logprob"]),
        no_speech_prob=0.0,
        compression_ratio=compression_ratio(text.strip()),
    )


def quiet() -> None:
    """Before WhisperX is imported: keep its log off our standard output, and its parts from calling home."""
    # whisperX gives its logger a handler on stdout unless it has one already.
    logger = logging.getLogger("whisperx")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.ERROR)
    # It would advise, at every load, to rewrite a file inside the whisperx package.
    logging.getLogger("lightning.pytorch.utilities.migration.utils").setLevel(logging.WARNING)
    os.environ.setdefault("PYANNOTE_METRICS_ENABLED", "0")
