"""Flags for segments that look invented, and for those with low confidence."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.options import TranscriptionOptions
from stenopool.speech.audio.vad import Region
from stenopool.speech.engines.policy import Verdict, find_flags, find_temperatures, judge
from stenopool.speech.transcript import HALLUCINATION_SUSPECTED, LOW_CONFIDENCE, Segment

SPEECH = [Region(0.0, 10.0), Region(20.0, 30.0)]


def _segment(text: str = "And so, my fellow Americans.", start: float = 1.0, end: float = 5.0, **facts: Any) -> Segment:
    return Segment(start=start, end=end, text=text, **{"avg_logprob": -0.3, "compression_ratio": 1.2, **facts})


@pytest.mark.parametrize(
    "segment",
    [
        _segment(),
        _segment(no_speech_prob=0.9),  # openai-whisper: probable text is kept
        _segment(start=9.5, end=12.0),
        _segment(avg_logprob=None, compression_ratio=None),
        _segment("No, no, no, no, no!"),
        _segment("Ha ha ha ha ha ha ha."),
        _segment("We shall fight on the beaches, we shall fight on the landing grounds, we shall fight in the fields."),
        _segment("Ask not what your country can do for you, ask what you can do for your country."),
    ],
    ids=lambda segment: segment.text,
)
def test_normal_segments_have_no_flags(segment: Segment) -> None:
    assert find_flags(segment, SPEECH) == []


@pytest.mark.parametrize(
    "segment",
    [
        _segment(compression_ratio=2.5),
        _segment(start=11.0, end=19.0),
        _segment(start=30.0, end=31.0),
        _segment("1-2-3-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4-4"),
        _segment("Thank you for watching. Thank you for watching! Thank you for watching. Thank you, for watching"),
        _segment("ご視聴ありがとうございました。" * 5),
        _segment("a" * 60),
    ],
    ids=lambda segment: segment.text[:30],
)
def test_suspect_segments_are_flagged(segment: Segment) -> None:
    assert find_flags(segment, SPEECH) == [HALLUCINATION_SUSPECTED]


def test_improbable_segments_are_flagged() -> None:
    assert find_flags(_segment(avg_logprob=-1.2, no_speech_prob=0.1), SPEECH) == [LOW_CONFIDENCE]
    assert find_flags(_segment(avg_logprob=-1.2, no_speech_prob=0.7), SPEECH) == [
        HALLUCINATION_SUSPECTED,
        LOW_CONFIDENCE,
    ]


def test_text_in_silence_is_suspect() -> None:
    assert find_flags(_segment(), []) == [HALLUCINATION_SUSPECTED]


@pytest.mark.timeout(5)
def test_long_text_is_checked_quickly() -> None:
    assert find_flags(_segment(" ".join(f"word{n}" for n in range(2000))), SPEECH) == []


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("speech", [_segment(no_speech_prob=0.1)]),
        ("speech", [_segment(no_speech_prob=None)]),  # WhisperX does not compute it
        ("noise", [_segment("Oh!", no_speech_prob=None, avg_logprob=-2.1)]),
        ("noise", []),
        ("noise", [_segment(" ")]),
        ("noise", [_segment("Thank you.", no_speech_prob=0.9)]),
        ("noise", [_segment(no_speech_prob=0.1), _segment(no_speech_prob=0.9)]),
        ("unclear", [_segment(avg_logprob=-1.4, no_speech_prob=0.1)]),
        ("unclear", [_segment(compression_ratio=3.0, no_speech_prob=0.1)]),
        (
            "unclear",
            [_segment("no no no no no no no no no no no no no no no no no no no no no no", no_speech_prob=0.1)],
        ),
        (
            "unclear",
            [
                _segment(
                    "far more text than anybody says in four seconds, " + "not one word of it said twice " * 7,
                    no_speech_prob=0.1,
                )
            ],
        ),
        ("unclear", [_segment("Okay.", no_speech_prob=0.1)]),  # one word in four seconds
        ("speech", [_segment("今日は良い天気です。")]),
    ],
)
def test_doubtful_speech_is_judged_by_its_text(verdict: Verdict, said: list[Segment]) -> None:
    assert judge(said, 4.0) == verdict


@given(st.integers(0, 100).map(lambda hundredths: hundredths / 100))
def test_temperatures_rise_from_the_given_one_by_whispers_steps(first: float) -> None:
    temperatures = find_temperatures(TranscriptionOptions(temperature=first))
    assert temperatures[0] == first
    assert temperatures[-1] <= 1 < temperatures[-1] + 0.2 + 1e-9
    assert all(later - earlier == pytest.approx(0.2) for earlier, later in pairwise(temperatures))


def test_the_default_temperatures_are_whispers() -> None:
    assert find_temperatures(TranscriptionOptions()) == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
