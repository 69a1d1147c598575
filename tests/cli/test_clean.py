"""`stenopool clean`: its ages and its output."""

import json
import os
import time
from pathlib import Path

import pytest

from stenopool.pipeline.receipts import BATCHES, work_key
from stenopool.storage import open_store
from tests.support.command_line import Call

HOUR = 3600.0


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    """Checkpoints of 11 hours and of 8 days ago, and two batches of 40 and 20 days ago."""
    folder = tmp_path / "transcripts"
    store = open_store(str(folder))
    for key, hours in {
        work_key("1" * 32, "audio.flac"): 11.0,
        work_key("2" * 32, "audio.flac"): 8 * 24.0,
        f"{BATCHES}20261001T000000Z-aaaaaa/report.json": 40 * 24.0,
        f"{BATCHES}20261021T000000Z-aaaaaa/report.json": 20 * 24.0,
    }.items():
        store.put_bytes(key, bytes(1500))
        then = time.time() - hours * HOUR
        os.utime(folder / key, (then, then))
    return folder


def left(folder: Path) -> list[str]:
    return sorted(path.parent.name[:8] for path in folder.rglob("*") if path.is_file())


OLD_WORK, YOUNG_WORK, OLD_BATCH, LAST_BATCH = "22222222", "11111111", "20261001", "20261021"


@pytest.mark.parametrize(
    ("options", "removed"),
    [
        ((), {OLD_WORK}),
        (("--work-older-than", "2w"), set()),
        (("--work-older-than", "12h"), {OLD_WORK}),
        (("--work-older-than", "10h"), {OLD_WORK, YOUNG_WORK}),
        (("--work-older-than", "615m"), {OLD_WORK, YOUNG_WORK}),
        (("--work-older-than", "36000s"), {OLD_WORK, YOUNG_WORK}),
        (("--work-older-than", "0.5d"), {OLD_WORK}),
        (("--batches-older-than", "never"), {OLD_WORK}),
        (("--batches-older-than", "50d"), {OLD_WORK}),
        (("--batches-older-than", "30d"), {OLD_WORK, OLD_BATCH}),
        (("--batches-older-than", "1d"), {OLD_WORK, OLD_BATCH}),
    ],
)
def test_ages_select_the_files_to_delete(
    options: tuple[str, ...], removed: set[str], destination: Path, stenopool: Call
) -> None:
    assert stenopool("clean", destination, *options).code == 0
    assert left(destination) == sorted({OLD_WORK, YOUNG_WORK, OLD_BATCH, LAST_BATCH} - removed)


@pytest.mark.parametrize("option", ["--work-older-than", "--batches-older-than"])
@pytest.mark.parametrize("age", ["soon", "7", "-1d", "7 days", ""])
def test_an_invalid_age_deletes_nothing(option: str, age: str, destination: Path, stenopool: Call) -> None:
    answer = stenopool("clean", destination, option, age)
    assert answer.code == 2
    assert option in answer.err
    assert len(left(destination)) == 4


def test_clean_prints_what_it_deleted(destination: Path, stenopool: Call) -> None:
    would = stenopool("clean", destination, "--dry-run", "--batches-older-than", "30d").out.splitlines()
    assert would[:2] == [
        "would delete the checkpoints of 1 recordings: 1 objects, 1.5 kB",
        "would delete 1 batches: 1 objects, 1.5 kB",
    ]
    assert len(left(destination)) == 4
    did = stenopool("clean", destination, "--batches-older-than", "30d").out.splitlines()
    assert did[:2] == [line.replace("would delete", "deleted") for line in would[:2]]


def test_json(destination: Path, stenopool: Call) -> None:
    found = json.loads(stenopool("clean", destination, "--json").out)
    assert found["work"] == {"folders": 1, "objects": 1, "bytes": 1500}
    assert found["batches"] == {"folders": 0, "objects": 0, "bytes": 0}


def test_a_misspelt_destination_is_an_error_in_clean(tmp_path: Path, stenopool: Call) -> None:
    answer = stenopool("clean", tmp_path / "missing")
    assert answer.code == 2
    assert answer.err.startswith("OBJECT_NOT_FOUND: ")
