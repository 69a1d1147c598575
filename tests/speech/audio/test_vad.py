"""Cuts of recordings: nothing is lost, no window is too long, and cuts are in the longest pauses."""

from itertools import combinations, pairwise
from math import exp
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio import vad
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.vad import Region, find_doubtful, phrases, speech_regions
from stenopool.speech.audio.waveform import SAMPLE_RATE, Samples, Waveform
from tests.support.speech import recording_path

MOST_SPEECH, LONGEST = 6.0, 9.0


def said(*stretches: tuple[float, float]) -> list[Region]:
    """Regions of (speech, pause after it), in seconds."""
    regions, now = [], 0.0
    for speech, pause in stretches:
        regions.append(Region(now, now + speech, pause))
        now += speech + pause
    return regions


_SPEECH = st.lists(st.tuples(st.floats(0.3, 7.0), st.floats(0.05, 3.0)), max_size=9).map(lambda all: said(*all))


def test_cuts_are_in_the_longest_pause_and_only_where_needed() -> None:
    regions = said((2.0, 0.25), (2.0, 0.75), (1.5, 0.25), (2.0, 0.25))
    assert phrases(regions, MOST_SPEECH, LONGEST) == [Region(0.0, 4.25), Region(5.0, 8.75)]
    assert phrases(regions[:3], MOST_SPEECH, LONGEST) == [Region(0.0, 6.5)]


def test_silence_counts_for_the_span_and_not_for_the_speech() -> None:
    regions = said((1.0, 2.5), (1.0, 2.0), (1.0, 0.1))
    assert phrases(regions, MOST_SPEECH, LONGEST) == [Region(0.0, 7.5)]
    assert phrases(regions, MOST_SPEECH, 7.0) == [Region(0.0, 1.0), Region(3.5, 7.5)]


def test_no_speech_has_no_windows() -> None:
    assert phrases([], MOST_SPEECH, LONGEST) == []


@given(_SPEECH)
def test_all_speech_is_in_one_window_and_windows_are_as_short_as_required(regions: list[Region]) -> None:
    windows = phrases(regions, MOST_SPEECH, LONGEST)
    parts = [[r for r in regions if window.start <= r.start and r.end <= window.end] for window in windows]
    assert [region for part in parts for region in part] == regions
    assert [(part[0].start, part[-1].end, part[-1].pause) for part in parts] == [
        (window.start, window.end, window.pause) for window in windows
    ]
    assert all(
        len(part) == 1 or (sum(r.duration for r in part) <= MOST_SPEECH + 1e-9 and window.duration <= LONGEST)
        for part, window in zip(parts, windows, strict=True)
    )


@given(_SPEECH)
def test_the_cuts_are_optimal(regions: list[Region]) -> None:
    """Compared with all possible cuts."""

    def cost(windows: list[list[Region]]) -> float:
        return len(windows) + sum(vad._CUT * exp(-w[-1].pause / vad._PAUSE) for w in windows)

    def fits(part: list[Region]) -> bool:
        speech = sum(region.duration for region in reversed(part))
        return len(part) == 1 or (speech <= MOST_SPEECH and part[-1].end - part[0].start <= LONGEST)

    ways = [
        [regions[a:b] for a, b in pairwise([0, *cuts, len(regions)])]
        for count in range(len(regions))
        for cuts in combinations(range(1, len(regions)), count)
    ]
    found = phrases(regions, MOST_SPEECH, LONGEST)
    chosen = [[r for r in regions if window.start <= r.start and r.end <= window.end] for window in found]
    assert not regions or cost(chosen) <= min(cost(way) for way in ways if all(map(fits, way))) + 1e-6


@pytest.fixture(scope="module")
def jfk(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    flac = tmp_path_factory.mktemp("jfk") / "jfk.flac"
    prepare_audio(recording_path("en/jfk.flac"), flac, TranscriptionOptions(), ExecutionOptions())
    return Waveform(flac).read()


def _waveform(folder: Path, *parts: Samples) -> Waveform:
    soundfile.write(folder / "a.flac", np.concatenate(parts), SAMPLE_RATE, subtype="PCM_16")
    return Waveform(folder / "a.flac")


def _noise(seconds: float, level: float) -> Samples:
    noise = np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))
    return (noise * 10 ** (level / 20)).astype(np.float32)


@pytest.mark.parametrize("quiet", [-50, -60])
def test_quiet_speech_next_to_loud_speech_is_doubtful(quiet: int, jfk: Samples, tmp_path: Path) -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    waveform = _waveform(tmp_path, jfk, silence, jfk * np.float32(10 ** (quiet / 20)), silence, jfk)
    speech = speech_regions(waveform)
    pauses = find_doubtful(waveform, speech, threshold=0.2)
    begin, length = len(jfk) / SAMPLE_RATE + 1, len(jfk) / SAMPLE_RATE
    all_found = [*speech, *(region for pause in pauses for region in pause)]
    inside = sum(region.duration for region in all_found if begin - 0.5 <= region.start <= begin + length)
    alone = sum(region.duration for region in speech_regions(_waveform(tmp_path, jfk)))
    assert inside > 0.9 * alone
    assert pauses
    assert not [(a, b) for a in speech for pause in pauses for b in pause if a.start < b.end - 1e-6 and b.start < a.end]


@pytest.mark.parametrize("level", [-75, -60, -45, -30])
def test_steady_noise_is_not_amplified(level: int, tmp_path: Path) -> None:
    waveform = _waveform(tmp_path, _noise(8.0, level))
    assert np.abs(vad._raise_level(waveform.read())).max() <= np.abs(waveform.read()).max()


def test_silence_and_short_pauses_are_not_searched(jfk: Samples, tmp_path: Path) -> None:
    silence = np.zeros(40 * SAMPLE_RATE, np.float32)
    waveform = _waveform(tmp_path, silence, jfk, jfk, silence[: SAMPLE_RATE + 7])
    end = 40 + 2 * len(jfk) / SAMPLE_RATE
    assert find_doubtful(waveform, [Region(40.0, 45.0), Region(45.9, end)], threshold=0.2) == []
    ((found, *_),) = find_doubtful(waveform, [Region(40.0, 45.0), Region(48.0, end)], threshold=0.2)
    assert 45.0 <= found.start < found.end <= 48.0


def test_a_lower_threshold_finds_more(jfk: Samples, tmp_path: Path) -> None:
    noise = _noise(len(jfk) / SAMPLE_RATE, -22)
    waveform = _waveform(tmp_path, np.clip(jfk * np.float32(0.35) + noise, -1, 1))
    found = [sum(region.duration for region in speech_regions(waveform, threshold=each)) for each in (0.9, 0.5, 0.1)]
    assert found == sorted(found)
    assert found[0] < found[2]
