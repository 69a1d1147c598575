"""A short run of the fuzzer, and every case that it has ever found (tests/hostile/cases/TARGET-...)."""

from pathlib import Path

import pytest

from benchmarks.fuzz import TARGETS, Target, fuzz, targets
from stenopool.errors import ErrorCode, StenopoolError

CASES = sorted((Path(__file__).parent / "cases").glob("*"))
SHORT = {"probe": 250, "decode": 60, "headers": 25, "keys": 4000, "receipts": 1500, "renderers": 800, "api": 1000}


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_crashes_and_nothing_hangs(name: str, tmp_path: Path) -> None:
    ((_, target),) = targets([name], tmp_path)
    result = fuzz(target, SHORT[name], seed=7)
    assert result.crashes == []
    assert result.hangs == []
    assert result.outcomes.get("taken", 0) > 0  # inputs that are always refused early test nothing else
    assert ErrorCode.INTERNAL not in result.outcomes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_earlier_findings_stay_fixed(case: Path, tmp_path: Path) -> None:
    ((_, target),) = targets([case.name.partition("-")[0]], tmp_path)
    try:
        target.attempt(case.read_bytes())
    except StenopoolError as error:
        assert error.code != ErrorCode.INTERNAL  # noqa: PT017 (either end is fine)


def test_the_fuzzer_finds_crashes_and_hangs() -> None:
    """A parser that fails on one byte sequence, and one that hangs on another."""

    def attempt(data: bytes) -> None:
        if b"-->" in data:
            raise IndexError("planted")

    result = fuzz(Target(lambda chance: chance.choice([b"-->", b"fine"]), attempt, 0, limit=1.0), 50, seed=1)
    assert result.crashes
    assert result.crashes[0][1] == b"-->"
    slow = fuzz(Target(lambda _: b"", lambda _: None, 0, limit=-1.0), 1, seed=1)
    assert slow.hangs == [b""]
