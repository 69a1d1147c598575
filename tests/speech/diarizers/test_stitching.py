"""From windows to turns, on hand-made windows."""

import numpy as np
import pytest

from stenopool.speech.diarizers.stitching import NOBODY, stitch, turns

GRID = (0.1, 0.05)  # seconds between frames, and to the center of the first


def window(*speakers: str) -> np.ndarray:
    """Activity (frames, local speakers), from one line per local speaker: ``x`` is active."""
    return np.array([[mark == "x" for mark in line] for line in speakers]).T


def lines(active: np.ndarray) -> list[str]:
    return ["".join("x" if each else "." for each in column) for column in active.T]


def test_windows_that_agree_are_kept() -> None:
    activity = np.stack([window("xxxx..", "....xx"), window("x.....", ".xxx..")])
    labels = np.array([[0, 1], [0, 1]])
    assert lines(stitch(activity, labels, hop=3)) == ["xxxx.....", "....xxx.."]


def test_a_different_order_of_local_speakers_does_not_matter() -> None:
    activity = np.stack([window("xxxx..", "....xx"), window(".xxx..", "x.....")])
    assert lines(stitch(activity, np.array([[0, 1], [1, 0]]), hop=3)) == ["xxxx.....", "....xxx.."]


def test_overlapping_speakers_are_both_kept() -> None:
    activity = window("xxxx..", "..xxxx")[None]
    assert lines(stitch(activity, np.array([[0, 1]]), hop=3)) == ["xxxx..", "..xxxx"]


def test_two_local_speakers_of_one_person_count_once() -> None:
    activity = window("xxx...", "...xxx")[None]
    assert lines(stitch(activity, np.array([[0, 0]]), hop=3)) == ["xxxxxx"]


def test_the_majority_of_windows_decides() -> None:
    activity = np.stack([window("xxxx"), window("xxxx"), window("xxxx")])
    labels = np.array([[0], [1], [1]])
    # Frame 3 is in all three windows, each with one active person: in two of three it is speaker 1.
    assert [line[3] for line in lines(stitch(activity, labels, hop=1))] == [".", "x"]


def test_all_speakers_are_kept_and_the_end_is_cut() -> None:
    activity = window("xx..", "..xx")[None]
    assert lines(stitch(activity, np.array([[0, NOBODY]]), hop=2, length=3)) == ["xx."]
    assert stitch(activity, np.array([[NOBODY, NOBODY]]), hop=2).shape == (4, 0)


def test_times_are_the_edges_of_frames() -> None:
    found = turns(window("..xxx....."), *GRID, pause=0.0)
    assert found == [(pytest.approx(0.2), pytest.approx(0.5), 0)]


def test_a_short_pause_ends_a_turn_only_if_somebody_else_speaks() -> None:
    alone = turns(window("xx..xx....xx"), *GRID, pause=0.2)
    assert [(round(a, 1), round(b, 1)) for a, b, _ in alone] == [(0.0, 0.6), (1.0, 1.2)]
    taken = turns(window("xx..xx", "..x..."), *GRID, pause=0.2)
    assert [(round(a, 1), round(b, 1), who) for a, b, who in taken] == [(0.0, 0.2, 0), (0.4, 0.6, 0), (0.2, 0.3, 1)]


def test_overlapping_speech_does_not_end_a_turn() -> None:
    found = turns(window("xx..xx", "xx...."), *GRID, pause=0.2)
    assert [(round(a, 1), round(b, 1), who) for a, b, who in found] == [(0.0, 0.6, 0), (0.0, 0.2, 1)]


def test_a_flicker_is_dropped_unless_it_is_the_only_turn_of_its_speaker() -> None:
    active = window("xxx.xxx", "...x...", "x......")
    found = turns(active, *GRID, pause=0.2, flicker=0.2)
    assert [(round(a, 1), round(b, 1), who) for a, b, who in found] == [
        (0.0, 0.3, 0),
        (0.4, 0.7, 0),
        (0.3, 0.4, 1),
        (0.0, 0.1, 2),
    ]
    found = turns(window("xxx.xxx...", "...x...xxx"), *GRID, pause=0.2, flicker=0.2)
    assert [(round(a, 1), round(b, 1), who) for a, b, who in found] == [(0.0, 0.7, 0), (0.7, 1.0, 1)]


def test_without_speech_there_are_no_turns() -> None:
    assert turns(np.zeros((10, 0), bool), *GRID, pause=1.0) == []
    assert turns(np.zeros((10, 2), bool), *GRID, pause=1.0) == []
