"""Audio for the page's player."""

from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, StenopoolError
from stenopool.speech.audio.preparation import player_audio
from stenopool.speech.audio.probe import probe
from tests.speech.audio.media import prepare, tone


@pytest.mark.parametrize("channels", ["1", "2"])
def test_player_audio_is_small_mono_opus(channels: str, tmp_path: Path) -> None:
    """Mono Opus, small, and of the same length."""
    prepare(tone(tmp_path / "a.wav", 10, "-ac", channels), tmp_path / "a.flac", "split")
    out = tmp_path / "-odd 'name'.webm"
    player_audio(tmp_path / "a.flac", out)
    found = probe(out)
    assert (found.container, found.codec, found.channels) == ("matroska,webm", "opus", 1)
    assert found.duration == pytest.approx(10.0, abs=0.05)
    assert out.stat().st_size < 10 * 32000 / 8


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    """A full disk ends with the right error."""
    prepare(tone(tmp_path / "a.wav", 10), tmp_path / "a.flac")
    (tmp_path / "out.webm").symlink_to("/dev/full")
    with pytest.raises(StenopoolError) as caught:
        player_audio(tmp_path / "a.flac", tmp_path / "out.webm")
    assert caught.value.code == ErrorCode.SCRATCH_FULL
    assert not (tmp_path / "out.webm").is_symlink()
