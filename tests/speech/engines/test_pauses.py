"""No word lasts over a pause that the speech detector knows."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.speech.audio.vad import Region
from stenopool.speech.engines.pauses import keep_to_speech
from stenopool.speech.transcript import Word

# Padded by 0.4 s, which fills the short pause at 2 s. In the long one, speech ends at 3.6 s and begins again at 9.4 s.
SPEECH = [Region(0.0, 2.0), Region(2.0, 4.0), Region(9.0, 12.0)]


@pytest.mark.parametrize(
    ("given_times", "kept"),
    [
        ([(3.5, 9.8)], [(9.4, 9.8)]),  # the first word after a pause begins with it
        ([(2.8, 9.2)], [(2.8, 3.6)]),  # the last one before it ends with it
        ([(2.8, 4.2)], [(2.8, 4.0)]),  # a little too long
        ([(3.6, 7.0), (7.0, 10.0)], [(9.4, 9.7), (9.7, 10.0)]),  # the second one takes the place of the first
        ([(3.0, 3.6), (3.6, 7.0), (7.0, 10.0)], [(3.0, 3.6), (9.4, 9.7), (9.7, 10.0)]),
        ([(2.8, 6.0), (6.0, 9.5)], [(2.8, 3.2), (3.2, 3.6)]),  # most of their speech is before it
        ([(11.4, 15.0)], [(11.4, 11.6)]),  # the last word of all
        ([(1.5, 2.5)], [(1.5, 2.5)]),  # over a pause that is too short to matter
        ([(4.5, 8.5)], [(4.5, 8.5)]),  # no speech there: invented
        ([(3.9, 9.1)], [(9.0, 9.1)]),  # the same, from stretch to stretch
        ([(None, None)], [(None, None)]),
    ],
)
def test_a_pause_is_not_part_of_a_word(given_times: list[tuple[float, float]], kept: list[tuple[float, float]]) -> None:
    found = keep_to_speech([Word(word=" Good", start=start, end=end) for start, end in given_times], SPEECH)
    assert [(word.start, word.end) for word in found] == kept


def test_a_sentence_stays_together() -> None:
    """A word of the next sentence is not placed in the tail of the word before the pause."""

    def place(first: tuple[str, float, float], second: tuple[str, float, float]) -> list[tuple[float, float]]:
        words = [Word(word=text, start=start, end=end) for text, start, end in (first, second)]
        return [(word.start or 0.0, word.end or 0.0) for word in keep_to_speech(words, SPEECH)]

    assert place((" Good", 3.4, 7.0), (" morning.", 7.0, 10.0)) == [(9.4, 9.6), (9.6, 10.0)]
    assert place((" Bye.", 3.2, 7.0), (" Good", 7.0, 9.8)) == [(3.2, 3.6), (9.4, 9.8)]


@given(
    times=st.lists(st.floats(0, 60).map(lambda time: round(time, 2)), min_size=2, max_size=40).map(sorted),
    edges=st.lists(st.floats(0, 60).map(lambda time: round(time, 1)), max_size=20).map(sorted),
    text=st.text("ab", min_size=1, max_size=20),
)
def test_words_keep_their_order_and_to_one_stretch_of_speech(times: list[float], edges: list[float], text: str) -> None:
    words = [Word(word=f" {text}", start=start, end=end) for start, end in pairwise(times)]
    speech = [Region(start, end) for start, end in zip(edges[::2], edges[1::2], strict=False) if end > start]
    kept = [(word.start or 0.0, word.end or 0.0) for word in keep_to_speech(words, speech)]
    assert len(kept) == len(words)
    assert all(start <= end for start, end in kept)
    assert all(one[1] <= other[0] + 1e-9 for one, other in pairwise(kept))
    assert times[0] <= kept[0][0]
    assert kept[-1][1] <= times[-1]
    gaps = [(one.end, other.start) for one, other in pairwise(speech) if other.start > one.end]
    assert not [times for times in kept for start, end in gaps if times[0] < start and end < times[1]]
