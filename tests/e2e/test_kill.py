"""A program killed at four random moments, and restarted each time: the same result, with little repeated work."""

from pathlib import Path

import pytest

from benchmarks.kill import kill_repeatedly
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech

pytestmark = [needs_speech, pytest.mark.slow, pytest.mark.timeout(1500)]

KILLS = 4


@pytest.mark.fault(
    "kill -9 at any moment",
    "The next run continues: nothing lost, nothing duplicated, at most one stage of the work in progress repeated.",
)
def test_kills_lose_nothing_and_each_repeats_at_most_one_stage_of_the_work_in_progress(
    seaweedfs: SeaweedFS, tmp_path: Path
) -> None:
    """The full version, 30 kills: python -m benchmarks.kill."""
    outcome = kill_repeatedly(seaweedfs, tmp_path, kills=KILLS, recordings=36, seed=2)
    print(outcome)
    assert outcome.faults == []
    assert len(outcome.kills) == KILLS, "it ended before all kills: use more recordings"
    assert [again for again in outcome.repeated if not again.within_work_in_progress] == []
