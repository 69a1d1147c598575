"""Failing storage, for some time or for every tenth call: the run still completes, and nothing is lost."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stenopool.pipeline.receipts import RECEIPTS, WORK, list_receipts
from stenopool.storage import open_store
from stenopool.storage.s3 import S3Store, process_client
from tests.e2e.conftest import Program
from tests.support.faults import FAULTS, FaultyProxy
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech, recording_path, recordings
from tests.support.waiting import wait_until

FAST = ("--model", "tiny.en", "--diarization", "off")
OUTAGE = 20.0


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeaweedFS]:
    """A server that can be stopped without affecting other tests."""
    server = SeaweedFS(tmp_path / "s3")
    server.start()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    process_client.cache_clear()
    yield server
    server.stop()
    process_client.cache_clear()


def fill(bucket: str) -> tuple[str, set[str]]:
    """A dozen recordings in the bucket; returns their address and keys."""
    files = [item["file"] for item in recordings("en_short")[:11]] + ["hard/silence-10s.flac"]
    source = open_store(f"s3://{bucket}/calls")
    for file in files:
        source.put_file(file, recording_path(file))
    return source.uri, set(files)


def transcripts(location: str) -> dict[str, Any]:
    """Transcripts by recording, without fields that differ between runs."""
    store, found = open_store(location), {}
    for info in store.list():
        if info.key.endswith("/transcript.json"):
            transcript = json.loads(store.get_bytes(info.key))
            del transcript["timings"], transcript["provenance"]["created_at"]
            found[info.key.removesuffix("/transcript.json")] = transcript
    return found


def assert_all_done(report: dict[str, Any], keys: set[str], destination: str) -> None:
    assert (report["done"], report["deferred"], report["quarantined"]) == (len(keys), 0, 0), report["failed"]
    store = open_store(destination)
    assert sorted(name.key for name in list_receipts(store) if name.status == "done") == sorted(keys)
    assert transcripts(destination).keys() == keys
    assert list(store.list(WORK)) == []


@pytest.mark.fault(
    "object store unavailable for 20 s",
    "The run waits and completes: nothing lost, nothing duplicated.",
)
@needs_speech
@pytest.mark.slow
@pytest.mark.usefixtures("shared_server")
@pytest.mark.parametrize("moment", ["audio.flac", "transcribe", RECEIPTS])
def test_storage_unreachable_for_20_seconds(
    moment: str, stenopool: Program, own_server: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped when the first object of this name exists: while audio is stored, during speech, at the receipts."""
    bucket = own_server.make_bucket()
    source, keys = fill(bucket)
    destination = f"s3://{bucket}/transcripts"
    with stenopool.start("run", source, destination, *FAST, "--json") as process:
        wait_until(
            lambda: any(moment in info.key for info in open_store(destination).list()),
            moment,
            seconds=180,
            every=0.02,
            process=process,
        )
        own_server.stop()
        time.sleep(OUTAGE)
        assert process.poll() is None, "the run did not outlive the outage"
        own_server.start()
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    assert_all_done(json.loads(out), keys, destination)


@pytest.mark.fault(
    "object store: every tenth request gets 500, 503, a delay, a refusal, or a lost or truncated response",
    "The run completes; transcripts equal those of an undisturbed run.",
)
@needs_speech
@pytest.mark.slow
@pytest.mark.usefixtures("shared_server")
def test_every_tenth_call_fails(
    stenopool: Program, s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, keys = fill(bucket)
    stenopool.json("run", source, f"s3://{bucket}/in-peace", *FAST)
    destination = f"s3://{bucket}/transcripts"
    with FaultyProxy(s3.s3, share=0.1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        report = stenopool.json("run", source, destination, *FAST)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    assert len(proxy.met) >= len(FAULTS) - 1, f"too few calls to show anything: {proxy.calls}, {proxy.met}"
    assert_all_done(report, keys, destination)
    assert transcripts(destination) == transcripts(f"s3://{bucket}/in-peace")


def test_failing_calls_damage_no_object(s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same test one level below: written objects arrive complete, once, and read back complete."""
    sound = S3Store(bucket, "a", client=s3.client())
    with FaultyProxy(s3.s3, share=0.3, delay=0.1) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        process_client.cache_clear()
        faulty = S3Store(bucket, "a")
        contents = {f"{n:02}.bin": bytes([n]) * 5000 * (n + 1) for n in range(12)}
        for key, content in contents.items():
            faulty.put_bytes(key, content)
            faulty.put_bytes(f"once/{key}", content, if_absent=True)
            assert not faulty.put_bytes(f"once/{key}", b"another", if_absent=True)
        assert {key: faulty.get_bytes(key) for key in contents} == contents
        listed = [info.key for info in faulty.list()]
        for key in contents:
            faulty.delete(key)
    # The bucket's name decides which calls fail, and it is new each time.
    assert len(proxy.met) > len(FAULTS) / 2
    assert listed == [*contents, *(f"once/{key}" for key in contents)]
    assert {info.key.removeprefix("once/"): sound.get_bytes(info.key) for info in sound.list()} == contents


def test_the_same_seed_fails_the_same_calls(s3: SeaweedFS) -> None:
    asked = [(method, f"/{n}") for n in range(300) for method in ("GET", "PUT")]
    drawn = []
    for order, seed in ((asked, 1), (asked[::-1], 1), (asked, 2)):
        proxy = FaultyProxy(s3.s3, share=0.1, seed=seed)
        drawn.append({call: proxy.draw(*call) for call in order})
    assert drawn[0] == drawn[1] != drawn[2]
    assert 30 < sum(fault is not None for fault in drawn[0].values()) < 90
