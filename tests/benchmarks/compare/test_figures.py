"""Ratios, spreads and steps are correct regardless of other load on the machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare.figures import Spread, ratios, steps
from tests.benchmarks.compare.samples import figures, grown, measurement

SPEEDS = st.dictionaries(st.integers(0, 9), st.floats(0.01, 1000.0), min_size=1)


@given(st.dictionaries(st.integers(0, 9), st.tuples(*[st.floats(0.01, 1000.0)] * 3), min_size=1))
def test_ratios_do_not_change_if_the_machine_is_slow_in_some_rounds(
    rounds: dict[int, tuple[float, float, float]],
) -> None:
    one, other, machine = ({number: values[i] for number, values in rounds.items()} for i in range(3))
    slowed = ratios({n: one[n] * machine[n] for n in one}, {n: other[n] * machine[n] for n in other})
    assert slowed == pytest.approx(ratios(one, other))


@given(SPEEDS, SPEEDS)
def test_only_rounds_of_both_systems_are_compared(one: dict[int, float], other: dict[int, float]) -> None:
    there, back = ratios(one, other), ratios(other, one)
    assert len(there) == len(one.keys() & other.keys())
    assert [a * b for a, b in zip(there, back, strict=True)] == pytest.approx([1.0] * len(there))


@given(st.lists(st.floats(0.01, 1000.0), min_size=1))
def test_a_spread_includes_every_value(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread is not None
    assert spread.least <= spread.median <= spread.most
    assert (spread.least, spread.most) == (min(values), max(values))


def test_no_values_have_no_spread() -> None:
    assert Spread.of([]) is None


def test_our_systems_are_compared_with_the_fastest_other_system() -> None:
    found = figures(
        *(measurement("ours", n, seconds) for n, seconds in enumerate((2.0, 3.0, 2.5))),
        *(measurement("engine", n, 1.0) for n in range(3)),
        *(measurement("whisperx", n, seconds) for n, seconds in enumerate((8.0, 9.0, 30.0))),
        *(measurement("faster-whisper-batched", n, 10.0) for n in range(3)),
        *(measurement("whisperx-diarized", n, 1.5) for n in range(3)),
    )
    assert found.fastest("calls", diarized=False) == "whisperx"  # by its median, so one slow round does not matter
    assert found.fastest("calls", diarized=True) == "whisperx-diarized"
    assert found.ratio("calls", "ours", "whisperx") == pytest.approx((4.0, 3.0, 12.0))
    assert found.ratio("calls", "ours", "whisper") is None


def test_steps_are_the_seconds_per_additional_recording() -> None:
    # 3 s for the run and 0.5 s for a recording; one of three rounds was disturbed.
    growth = [grown(n, 3.0 + 0.5 * n, round) for n in (200, 20, 2000) for round in range(2)]
    growth += [grown(n, 100.0 + n, 2) for n in (20, 200, 2000)]
    found = steps(growth)
    assert [step.recordings for step in found] == [20, 200, 2000]
    assert [step.seconds for step in found] == pytest.approx([13.0, 103.0, 1003.0])
    assert found[0].per_recording is None
    assert [step.per_recording for step in found[1:]] == pytest.approx([0.5, 0.5])
