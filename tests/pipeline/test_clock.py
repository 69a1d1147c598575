"""A device's time: uses that overlap count once, and what is neither use nor loading is idle."""

import threading
import time

import pytest

from stenopool.pipeline.clock import DeviceClock


def test_busy_load_and_idle_add_up_to_the_clocks_age() -> None:
    clock = DeviceClock()
    with clock.counts("load"):
        time.sleep(0.05)
    with clock.counts("busy"):
        time.sleep(0.1)
    time.sleep(0.05)
    found = clock.summary()
    assert found["load"] >= 0.05
    assert found["busy"] >= 0.1
    assert found["idle"] >= 0.05
    assert sum(found.values()) == pytest.approx(clock._since - clock.started)


def test_two_uses_at_once_count_once_and_use_goes_before_loading() -> None:
    clock = DeviceClock()
    barrier = threading.Barrier(3)

    def use(kind: str) -> None:
        with clock.counts(kind):  # type: ignore[arg-type]
            barrier.wait()
            time.sleep(0.2)

    users = [threading.Thread(target=use, args=(kind,)) for kind in ("busy", "busy", "load")]
    for user in users:
        user.start()
    for user in users:
        user.join()
    found = clock.summary()
    age = clock._since - clock.started
    assert 0.2 <= found["busy"] <= age
    assert found["busy"] + found["load"] + found["idle"] == pytest.approx(age)
