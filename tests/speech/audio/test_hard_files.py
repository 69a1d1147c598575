"""Every file of speech/hard ends as the manifest says it should."""

import json
from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, RecordingError
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.transcript import DECODE_ERRORS, OPPOSITE_PHASE, TRACKS_LEFT_OUT, TRUNCATED
from tests.speech.audio.media import prepare, rms_db
from tests.support.speech import SPEECH, needs_speech, recording_path

pytestmark = needs_speech

MANIFEST = SPEECH / "manifest.json"
HARD = (
    [item for item in json.loads(MANIFEST.read_text(encoding="utf-8")) if item["file"].startswith("hard/")]
    if (MANIFEST.exists())
    else []
)
BY_NAME = {item["file"].removeprefix("hard/"): item for item in HARD}
REFUSED = {
    "empty.wav": ErrorCode.EMPTY_FILE,
    "empty.mp3": ErrorCode.EMPTY_FILE,
    "text.wav": ErrorCode.NOT_AUDIO,
    "page.mp3": ErrorCode.NOT_AUDIO,
    "random.ogg": ErrorCode.NOT_AUDIO,
    "zip.m4a": ErrorCode.NOT_AUDIO,
    "picture.mp3": ErrorCode.NOT_AUDIO,
    "header-only.wav": ErrorCode.INPUT_CORRUPT,
    "truncated-no-moov.m4a": ErrorCode.INPUT_CORRUPT,
    "video-no-audio.mp4": ErrorCode.NO_AUDIO_STREAM,
}
# Decoded seconds, for files whose header is wrong or missing.
SECONDS = {
    "raw-adts.aac": 11.07,
    "browser-no-duration.webm": 11.0,
    "bitrot.mp3": 10.95,
    "hole.opus": 11.0,  # the lost pages are silence: the rest keeps its time
    "truncated.wav": 5.5,
    "truncated.mp3": 6.04,
    "truncated.flac": 5.33,
    "partial.mp3.part": 0.58,
}
FLAGS = {
    "bitrot.mp3": {DECODE_ERRORS},
    "hole.opus": {DECODE_ERRORS},
    "truncated.wav": {TRUNCATED, DECODE_ERRORS},
    "truncated.flac": {TRUNCATED, DECODE_ERRORS},
    "truncated.mp3": {TRUNCATED},
    "partial.mp3.part": {TRUNCATED},
    "out-of-phase.flac": {OPPOSITE_PHASE},
    "two-tracks.mka": {TRACKS_LEFT_OUT},
}


@pytest.mark.parametrize("name", sorted(set(BY_NAME) - set(REFUSED)))
def test_a_usable_file_is_prepared_and_flagged(name: str, tmp_path: Path) -> None:
    """It is prepared with the right length, and flagged only for actual losses."""
    item = BY_NAME[name]
    assert item["expect"] != "error"
    prepared = prepare(recording_path(f"hard/{name}"), tmp_path / "a.flac")
    assert prepared.audio.duration == pytest.approx(SECONDS.get(name, item["duration_s"]), abs=0.15)
    assert Waveform(tmp_path / "a.flac").duration == pytest.approx(max(0.01, prepared.audio.duration), abs=0.001)
    assert set(prepared.flags) == FLAGS.get(name, set())
    assert prepared.audio.channels == item["channels"]
    assert prepared.audio.sample_rate == item["sample_rate"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.flac"]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_an_unusable_file_is_refused(name: str, tmp_path: Path) -> None:
    """It is refused with the right code, and leaves nothing behind."""
    assert BY_NAME[name]["expect"] in {"error", "either"}
    with pytest.raises(RecordingError) as caught:
        prepare(recording_path(f"hard/{name}"), tmp_path / "a.flac")
    assert caught.value.code == REFUSED[name]
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["quiet-50dB.flac", "out-of-phase.flac", "left-only.flac", "surround51.m4a"])
def test_speech_is_loud_enough_to_be_heard(name: str, tmp_path: Path) -> None:
    """Distant speech, cancelling or one-sided stereo and a center channel all end at a speaking level."""
    prepare(recording_path(f"hard/{name}"), tmp_path / "a.flac")
    assert -28 < rms_db(Waveform(tmp_path / "a.flac").read()) < -14


def test_a_left_only_file_is_not_halved(tmp_path: Path) -> None:
    """Next to a silent channel, the other one keeps its level."""
    prepare(recording_path("hard/left-only.flac"), tmp_path / "a.flac")
    prepare(recording_path("en/jfk.flac"), tmp_path / "b.flac")
    left, original = (Waveform(tmp_path / name).read() for name in ("a.flac", "b.flac"))
    assert rms_db(left) == pytest.approx(rms_db(original), abs=0.5)


@pytest.mark.parametrize("name", ["room-noise-20s.opus", "silence-10s.flac", "silence-35s.opus", "sine-440.flac"])
def test_noise_and_silence_are_not_raised(name: str, tmp_path: Path) -> None:
    """There is nothing to hear, so nothing is amplified."""
    assert prepare(recording_path(f"hard/{name}"), tmp_path / "a.flac").audio.gain_db == 0.0


def test_a_dc_offset_is_removed(tmp_path: Path) -> None:
    """The mean of a recording with a DC offset becomes zero."""
    prepare(recording_path("hard/dc-offset.flac"), tmp_path / "a.flac")
    assert abs(Waveform(tmp_path / "a.flac").read().mean()) < 1e-4
