"""A call recorded with one person per channel."""

from pathlib import Path

import pytest

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.diarizers import create
from stenopool.speech.speakers import channel_name
from tests.support.speech import recording_path

# The time of each channel's speech, from the recording's reference.
CALL = "diar/call-stereo-8k-mulaw.wav"
SPEECH = {
    "agent": [(6.7, 9.5), (16.9, 22.0), (26.2, 30.7), (34.6, 38.9)],
    "customer": [(0.3, 6.4), (9.7, 16.6), (21.3, 26.9)],
}


@pytest.fixture
def call(tmp_path: Path) -> list[Waveform]:
    flac = tmp_path / "call.flac"
    options = TranscriptionOptions(diarization="channels")
    prepared = prepare_audio(recording_path(CALL), flac, options, ExecutionOptions())
    return [Waveform(flac, channel) for channel in range(prepared.channels)]


def test_each_channel_has_the_turns_of_its_speaker(call: list[Waveform]) -> None:
    options = TranscriptionOptions(diarization="channels", channel_names=("agent", "customer"))
    turns = create("channels", ExecutionOptions()).diarize(call, options)
    assert turns == sorted(turns, key=lambda turn: turn.start)
    for name, expected in SPEECH.items():
        for start, end in expected:
            heard = sum(max(0.0, min(t.end, end) - max(t.start, start)) for t in turns if t.speaker == name)
            other = sum(t.end - t.start for t in turns if t.speaker != name and start + 1 < t.start < t.end < end - 1)
            assert heard > 0.75 * (end - start)
            assert other == 0.0


def test_channels_without_names_are_numbered(call: list[Waveform]) -> None:
    turns = create("channels", ExecutionOptions()).diarize(
        call, TranscriptionOptions(diarization="channels", channel_names=("agent",))
    )
    assert {turn.speaker for turn in turns} == {"agent", "CHANNEL_1"}
    assert channel_name(0) == "CHANNEL_0"
