"""Other libraries, called in process as their READMEs show: same weights, same beam, one file after another."""

import os
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from stenopool import models

BEAM = 5


class Heard(NamedTuple):
    """The result of a library for one recording."""

    text: str
    language: str


class Recognize(Protocol):
    """A loaded library. ``audio``: a path, for the library's own decoder, or 16 kHz mono float32."""

    def __call__(self, audio: Any, *, several_languages: bool = False) -> Heard: ...


class Baseline(NamedTuple):
    """A library: its package, the extra that installs it, and its loader."""

    package: str
    extra: str
    load: "Callable[[Setup], Recognize]"


class Setup(NamedTuple):
    """Common settings of all libraries."""

    model: str
    device: str
    compute_type: str
    batch: int


def _load_whisperx(setup: Setup) -> Recognize:
    from stenopool.speech.engines.alignment import silence_whisperx

    silence_whisperx()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchcodec, which is not used here
        from whisperx.asr import load_model

        pipeline = load_model(
            str(models.find(setup.model, "ctranslate2").path),
            setup.device,
            compute_type=setup.compute_type,
            vad_method="pyannote",
            asr_options={"beam_size": BEAM},
            threads=os.cpu_count() or 1,
        )

    def recognize(audio: Any, *, several_languages: bool = False) -> Heard:
        if several_languages:
            raise NotImplementedError("one language per file")
        result = pipeline.transcribe(audio, batch_size=setup.batch)
        return Heard(" ".join(segment["text"].strip() for segment in result["segments"]), result["language"])

    return recognize


def _load_faster_whisper(setup: Setup, *, batched: bool = False) -> Recognize:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    path = str(models.find(setup.model, "ctranslate2").path)
    threads = os.cpu_count() or 1
    model = WhisperModel(path, device=setup.device, compute_type=setup.compute_type, cpu_threads=threads)
    pipeline = BatchedInferencePipeline(model) if batched else model
    chosen: dict[str, Any] = {"batch_size": setup.batch} if batched else {"vad_filter": True}

    def recognize(audio: Any, *, several_languages: bool = False) -> Heard:
        segments, info = pipeline.transcribe(audio, beam_size=BEAM, multilingual=several_languages, **chosen)
        return Heard(" ".join(segment.text.strip() for segment in segments), info.language)

    return recognize


def _load_faster_whisper_batched(setup: Setup) -> Recognize:
    return _load_faster_whisper(setup, batched=True)


def _load_whisper(setup: Setup) -> Recognize:
    import whisper

    model = whisper.load_model(str(models.find(setup.model, "openai").path), device=setup.device)

    def recognize(audio: Any, *, several_languages: bool = False) -> Heard:
        if several_languages:
            raise NotImplementedError("one language per file")
        result = model.transcribe(audio, beam_size=BEAM, fp16=setup.device == "cuda")
        return Heard(result["text"].strip(), result["language"])

    return recognize


BASELINES: dict[str, Baseline] = {
    "whisperx": Baseline("whisperx", "whisperx", _load_whisperx),
    "faster-whisper": Baseline("faster_whisper", "", _load_faster_whisper),
    "faster-whisper-batched": Baseline("faster_whisper", "", _load_faster_whisper_batched),
    "whisper": Baseline("whisper", "whisper", _load_whisper),
}
