"""What the default engine does when a device is short of memory, and with speech that a first answer passed over."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stenopool.audio.prepare import prepare_audio
from stenopool.audio.vad import Region
from stenopool.audio.waveform import Waveform
from stenopool.engines.base import Utterance
from stenopool.engines.coverage import cut_at_missing, is_missing_speech
from stenopool.engines.decoding import Decoded
from stenopool.engines.faster_whisper import FasterWhisperEngine, _Run
from stenopool.engines.pooling import Window
from stenopool.errors import ErrorCode, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.transcript import Word
from tests.support.speech import needs_speech, recording_path, recordings


class SmallDevice:
    """Stands for a decoder on a GPU that has room for so many windows; no real one can be filled here."""

    multilingual = True

    def __init__(self, room: int) -> None:
        self.room = room

    def encode(self, windows: Sequence[Any], frame: float) -> Any:
        if len(windows) > self.room:
            raise RuntimeError("CUDA failed with error out of memory")
        return len(windows)

    def decode(self, encoded: int, languages: Sequence[str], durations: Sequence[float]) -> list[Decoded]:
        words = [Word(word=" yes", start=0.0, end=duration) for duration in durations]
        return [_said(" yes yes yes", [word]) for word in words]


def _said(text: str, words: list[Word]) -> Decoded:
    return Decoded("en", {}, text, [1, 2, 3], -0.1, 0.0, 1.0, words=words)


def _run(folder: Path, room: int) -> tuple[_Run, list[Window]]:
    flac = folder / "audio.flac"
    soundfile.write(flac, np.zeros(16_000 * 40, np.float32), 16_000)
    engine = FasterWhisperEngine("base", ExecutionOptions(device="cpu"))
    options = TranscriptionOptions(language="en", diarization="off")
    run = _Run(engine, [Utterance("a", Waveform(flac))], options, SmallDevice(room))  # type: ignore[arg-type]
    windows = [Window(0, Region(float(n), n + 1.0)) for n in range(0, 40, 5)]
    run.speech[0] = [window.region for window in windows]
    return run, windows


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, windows = _run(tmp_path, room=2)
    with caplog.at_level(logging.WARNING):
        answers = run._decode(windows)
    assert [window for window, _ in answers] == windows
    assert "Out of memory with 8 windows at once; going on with 4." in caplog.messages


def test_a_window_that_does_not_fit_by_itself_is_the_devices_fault(tmp_path: Path) -> None:
    run, windows = _run(tmp_path, room=0)
    with pytest.raises(TransientError) as raised:
        run._decode(windows)
    assert raised.value.code is ErrorCode.OUT_OF_MEMORY


def test_speech_without_words_is_missed_and_cut_off_at_the_pause_before_it() -> None:
    window = Region(10.0, 35.0)
    speech = [Region(10.0, 18.0), Region(20.0, 35.0)]
    heard = _said(" hello", [Word(word=" hello", start=0.0, end=7.5)])
    assert is_missing_speech(window, heard, speech)
    assert cut_at_missing(window, heard, speech) == [Region(10.0, 19.0), Region(19.0, 35.0)]


def test_a_pause_is_not_missing_speech() -> None:
    window = Region(0.0, 20.0)
    heard = _said(" one two", [Word(word=" one", start=0.0, end=3.0), Word(word=" two", start=16.0, end=20.0)])
    assert not is_missing_speech(window, heard, [Region(0.0, 3.2), Region(15.8, 20.0)])


def test_speech_without_a_pause_cannot_be_cut() -> None:
    window = Region(0.0, 20.0)
    heard = _said(" one", [Word(word=" one", start=0.0, end=1.0)])
    assert cut_at_missing(window, heard, [window]) == [window]


@needs_speech
def test_a_recording_says_the_same_whatever_is_decoded_beside_it(tmp_path: Path) -> None:
    options = TranscriptionOptions(model="tiny.en", diarization="off")
    engine = FasterWhisperEngine("tiny.en", ExecutionOptions(device="cpu"))
    batch = []
    for item in recordings("en_short")[:10]:
        flac = tmp_path / f"{len(batch)}.flac"
        prepare_audio(recording_path(item["file"]), flac, options, engine.execution)
        batch.append(Utterance(item["file"], Waveform(flac)))
    together = {utterance.id: answer for utterance, answer in engine.transcribe(batch, options)}
    assert len(together) == 10
    for some in (batch[::3], batch[1::3], batch[2::3], batch[:1]):
        for utterance, answer in engine.transcribe(some, options):
            assert answer == together[utterance.id]
