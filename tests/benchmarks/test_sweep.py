"""The sweep sets each point where the engine reads it, and restores it."""

from benchmarks.sweep import CHOSEN, VALUES, Setting, chosen, engine_at, settings
from stenopool.speech.audio.vad import Region
from stenopool.speech.engines import policy
from stenopool.speech.engines.policy import frame_seconds

_WINDOW = Region(0.0, 9.0)


def test_every_point_reaches_the_engine_and_is_restored() -> None:
    before = chosen()
    with engine_at(Setting("tail", 1.0)):
        assert frame_seconds(_WINDOW) == 10.0
    with engine_at(Setting("step", 7.0)):
        assert frame_seconds(_WINDOW) == 14.0
        assert policy.FRAME_STEP == 7.0
    with engine_at(Setting("batch", 3)) as engine:
        assert engine.most_windows(30.0) == 3
    for point in VALUES:
        for value in VALUES[point]:
            with engine_at(Setting(point, value)):
                # The batch is not a constant but a setting of the engine, which is checked above.
                assert point in ("batch", "workers") or chosen()[point] == value
    assert chosen() == before


def test_each_value_is_measured_once_per_round_with_the_defaults() -> None:
    at = chosen()
    measured = settings(list(VALUES), at)
    assert measured[0] == Setting(CHOSEN, CHOSEN)
    for point, values in VALUES.items():
        assert {one.value for one in measured if one.point == point} == {v for v in values if v != at[point]}
    assert len(set(measured)) == len(measured)
