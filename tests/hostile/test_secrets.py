"""Planted secrets appear nowhere: not in a batch's output, files or stored data, nor in any process list."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stenopool.storage import open_store
from tests.e2e.conftest import Program, stenopool  # noqa: F401 (a fixture)
from tests.hostile.files import LISTS
from tests.support.leaks import ProcessLists, files, leaks
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech, recording_path

FAST = ("--model", "tiny.en", "--diarization", "off")
PLANTED = {
    "HF_TOKEN": "hf_plantedPLANTEDplantedPLANTED0001",
    "PREFECT_API_AUTH_STRING": "somebody:planted-auth-string-0002",
    "PREFECT_API_KEY": "pnu_plantedplantedplanted0003",
    "OPENAI_API_KEY": "sk-planted-planted-0004",
    "DATABASE_PASSWORD": "planted-database-password-0005",
}


def objects(location: str) -> Iterator[tuple[str, bytes]]:
    store = open_store(location)
    for info in store.list():
        yield info.key, store.get_bytes(info.key)


def test_a_leak_is_found(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(f"token={PLANTED['HF_TOKEN']}\n")
    assert leaks(PLANTED, files(tmp_path)) == [f"HF_TOKEN in {tmp_path / 'log.txt'}"]


@needs_speech
@pytest.mark.slow
def test_no_output_contains_a_secret(stenopool: Program, s3: SeaweedFS, bucket: str, tmp_path: Path) -> None:  # noqa: F811
    """A batch with failures, then a refused one, then `status` and `doctor`; everything they leave behind
    is searched.
    """
    source, destination = f"s3://{bucket}/calls", f"s3://{bucket}/transcripts"
    store = open_store(source)
    store.put_file("good.flac", recording_path("en/jfk.flac"))
    store.put_file("bad.wav", recording_path("hard/text.wav"))
    for attack in LISTS[:3]:
        attack.write(tmp_path / attack.name, {"secret": "/x", "address": "127.0.0.1:1"})
        store.put_file(f"list-{attack.name}.wav", tmp_path / attack.name)
    stenopool.extra = {**PLANTED, "PREFECT_LOGGING_LEVEL": "DEBUG"}
    secrets = PLANTED | {name: s3.environment[name] for name in ("AWS_SECRET_ACCESS_KEY",)}
    said = []
    with ProcessLists() as lists:
        done = stenopool("run", source, destination, *FAST)
        said += [done.stdout, done.stderr]
        assert done.returncode == 1, done.stderr[-2000:]
        for command in (["status", destination], ["doctor", source, destination], ["plan", source, destination]):
            more = stenopool(*command)
            said += [more.stdout, more.stderr]
        stenopool.extra |= {"AWS_SECRET_ACCESS_KEY": "planted-and-wrong-0006"}
        refused = stenopool("run", source, destination, *FAST)
        assert refused.returncode not in (0, 1), refused.stderr[-2000:]
        said += [refused.stdout, refused.stderr]
    secrets |= {"wrong key": "planted-and-wrong-0006"}
    assert len(lists.seen) > 10
    # The home folder has Prefect's database: parameters, names, logs, artifacts, events.
    home = list(files(stenopool.home))
    assert any(place.endswith(".db") for place, _ in home)
    for name, places in {
        "output": [(f"output {number}", text.encode()) for number, text in enumerate(said)],
        "process lists": [("a command line", line) for line in lists.seen],
        "the destination": list(objects(destination)),
        "the home": home,
    }.items():
        assert leaks(secrets, iter(places)) == [], name
    assert any(key.startswith(".receipts/bad") for key, _ in objects(destination))
