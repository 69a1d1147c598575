"""Where recordings are cut: nothing is lost, no window is too long, and cuts are in the longest pauses."""

from itertools import combinations, pairwise
from math import exp

from hypothesis import given
from hypothesis import strategies as st

from stenopool.speech.audio import vad
from stenopool.speech.audio.vad import Region, phrases

MOST_SPEECH, LONGEST = 6.0, 9.0


def said(*stretches: tuple[float, float]) -> list[Region]:
    """Stretches of (speech, pause after it), seconds."""
    regions, now = [], 0.0
    for speech, pause in stretches:
        regions.append(Region(now, now + speech, pause))
        now += speech + pause
    return regions


_SPEECH = st.lists(st.tuples(st.floats(0.3, 7.0), st.floats(0.05, 3.0)), max_size=9).map(lambda all: said(*all))


def test_a_cut_is_made_in_the_longest_pause_and_only_where_one_is_needed() -> None:
    regions = said((2.0, 0.25), (2.0, 0.75), (1.5, 0.25), (2.0, 0.25))
    assert phrases(regions, MOST_SPEECH, LONGEST) == [Region(0.0, 4.25), Region(5.0, 8.75)]
    assert phrases(regions[:3], MOST_SPEECH, LONGEST) == [Region(0.0, 6.5)]


def test_silence_counts_for_the_span_and_not_for_the_speech() -> None:
    regions = said((1.0, 2.5), (1.0, 2.0), (1.0, 0.1))
    assert phrases(regions, MOST_SPEECH, LONGEST) == [Region(0.0, 7.5)]
    assert phrases(regions, MOST_SPEECH, 7.0) == [Region(0.0, 1.0), Region(3.5, 7.5)]


def test_nobody_speaks() -> None:
    assert phrases([], MOST_SPEECH, LONGEST) == []


@given(_SPEECH)
def test_all_speech_is_in_one_window_and_windows_are_as_short_as_asked(regions: list[Region]) -> None:
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
def test_no_other_way_to_cut_costs_less(regions: list[Region]) -> None:
    """Against all ways there are."""

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
