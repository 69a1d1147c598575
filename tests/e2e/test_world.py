"""Faults around a run: a store that lies, refuses or is full, a full disk, a wrong clock, no network.

Each ends in one of two ways: the run completes, or it reports the error and the next run does the rest.
"""

import json
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stenopool.errors import ErrorCode
from stenopool.pipeline.receipts import WORK, list_receipts
from stenopool.storage import open_store
from tests.e2e.conftest import Program
from tests.support.faults import Fault, FaultyProxy
from tests.support.netns import Namespace
from tests.support.prefect_server import PrefectServer
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech, recording_path, recordings
from tests.support.waiting import wait_until

pytestmark = [needs_speech, pytest.mark.slow]

FAST = ("--model", "tiny.en", "--diarization", "off")
CLOCK = Path(__file__).parents[1] / "support" / "clock.c"
DAY = 86400


@pytest.fixture(autouse=True)
def _no_pauses(stenopool: Program) -> None:
    stenopool.extra = {"STENOPOOL_RETRY__BASE_DELAY": "0", "STENOPOOL_RETRY__ATTEMPTS": "1", "AWS_MAX_ATTEMPTS": "2"}


def fill(location: str, number: int = 4) -> list[str]:
    """Upload some recordings; return their keys."""
    store, keys = open_store(location), []
    for item in recordings("en_short")[:number]:
        store.put_file(item["file"], recording_path(item["file"]))
        keys.append(item["file"])
    return sorted(keys)


def assert_each_once(destination: str, keys: list[str]) -> None:
    """One receipt and one transcript for each recording, and no remaining work."""
    store = open_store(destination)
    assert sorted(name.key for name in list_receipts(store) if name.status == "done") == keys
    assert [name for name in list_receipts(store) if name.status != "done"] == []
    written = [info.key for info in store.list()]
    assert sorted(key for key in written if key.endswith("/transcript.json")) == [
        f"{key}/transcript.json" for key in keys
    ]
    assert not [key for key in written if key.startswith(WORK)]


def codes(report: dict[str, Any]) -> set[str]:
    return {one["failure"]["code"] for one in report["failed"]}


@pytest.mark.fault(
    "object store: truncated bodies and wrong ETags of recordings",
    "No partial recording is transcribed; the next run transcribes them. Nothing lost, nothing duplicated.",
)
@pytest.mark.usefixtures("shared_server")
def test_a_store_that_returns_wrong_content(
    stenopool: Program, s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, destination = f"s3://{bucket}/calls", f"s3://{bucket}/transcripts"
    keys = fill(source)
    lies: dict[str, Fault] = {keys[0].rpartition("/")[2]: "short", keys[1].rpartition("/")[2]: "etag"}

    def choose(method: str, path: str) -> Fault | None:
        found = [lies[name] for name in lies if "/calls/" in path and path.partition("?")[0].endswith(name)]
        return found[0] if found and method == "GET" else None

    with FaultyProxy(s3.s3, choose=choose) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        report = stenopool.json("run", source, destination, *FAST, exit_status=1)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    assert set(proxy.met) == {"short", "etag"}
    assert (report["done"], report["deferred"], report["quarantined"]) == (len(keys) - 2, 2, 0)
    assert codes(report) == {ErrorCode.OBJECT_UNREADABLE, ErrorCode.SOURCE_CHANGED}
    assert stenopool.json("run", source, destination, *FAST)["done"] == 2
    assert_each_once(destination, keys)


@pytest.mark.fault(
    "object store: writes denied, or bucket full",
    "The run ends with an error; the next run does the rest. Nothing lost, nothing duplicated.",
)
@pytest.mark.usefixtures("shared_server")
@pytest.mark.parametrize("fault", ["denied", "full"])
def test_a_store_that_refuses_writes(
    fault: Fault, stenopool: Program, s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first transcript on; prepared work is kept."""
    source, destination = f"s3://{bucket}/calls", f"s3://{bucket}/transcripts"
    keys = fill(source)

    def choose(method: str, path: str) -> Fault | None:
        return fault if method in ("PUT", "POST") and "/transcript." in path else None

    with FaultyProxy(s3.s3, choose=choose) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        done = stenopool("run", source, destination, *FAST)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.endpoint)
    assert done.returncode == 1, done.stderr[-2000:]
    assert ("OUTPUT_DENIED" if fault == "denied" else "STORAGE_UNAVAILABLE") in done.stdout + done.stderr
    assert list(list_receipts(open_store(destination))) == []
    assert stenopool.json("run", source, destination, *FAST)["done"] == len(keys)
    assert_each_once(destination, keys)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("no small disk: needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.fault(
    "disk full (scratch on a tmpfs of 400 kB)",
    "Recordings that do not fit are deferred with SCRATCH_FULL to the next run. Nothing lost, nothing duplicated.",
)
# The embedded server keeps its database in scratch, which is too small for it here.
@pytest.mark.usefixtures("shared_server")
def test_a_full_disk(stenopool: Program, small_disk: Path, tmp_path: Path) -> None:
    source, destination = tmp_path / "calls", str(tmp_path / "transcripts")
    keys = fill(str(source))
    scratch, stenopool.scratch = stenopool.scratch, small_disk
    report = stenopool.json("run", source, destination, *FAST, exit_status=1)
    stenopool.scratch = scratch
    assert report["deferred"] > 0
    assert report["quarantined"] == 0
    assert codes(report) == {ErrorCode.SCRATCH_FULL}
    assert stenopool.json("run", source, destination, *FAST)["done"] == report["deferred"]
    assert_each_once(destination, keys)


@pytest.mark.fault(
    "clock jumps a day forward and two days back during a run",
    "The run completes: nothing lost, nothing duplicated.",
)
@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler: apt-get install gcc libc6-dev")
def test_the_clock_jumps(stenopool: Program, tmp_path: Path) -> None:
    source, destination = tmp_path / "calls", tmp_path / "transcripts"
    keys = fill(str(source), 8)
    library, offset = tmp_path / "clock.so", tmp_path / "offset"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, CLOCK, "-ldl"], check=True)
    offset.write_bytes(struct.pack("q", 0))
    stenopool.extra |= {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(offset)}
    stenopool.extra["STENOPOOL_BATCH__BATCH_RECORDINGS"] = "2"
    with stenopool.start("run", str(source), str(destination), *FAST) as process:
        for seconds, sign in ((DAY, ".work/*/prepare*"), (-DAY, ".receipts/**/*.json")):
            wait_until(
                lambda sign=sign: list(destination.glob(sign)) or process.poll() is not None,
                sign,
                seconds=120,
                every=0.02,
            )
            with offset.open("r+b") as file:  # the same file, because it is mapped
                file.write(struct.pack("q", seconds))
        out, err = process.communicate(timeout=200)
    assert process.returncode == 0, (out + err)[-3000:]
    assert_each_once(str(destination), keys)
    days = {json.loads(path.read_bytes())["created_at"][:10] for path in destination.glob(".receipts/**/*.json")}
    assert len(days) > 1, "the clock of the run did not jump"
    stenopool.extra.pop("LD_PRELOAD")
    assert stenopool.json("run", source, destination, *FAST)["new"] == 0


@pytest.mark.fault(
    "network of a pod lost (its link in a network namespace is down for 15 s)",
    "The run waits and completes: nothing lost, nothing duplicated.",
)
def test_a_lost_network(stenopool: Program, s3: SeaweedFS, bucket: str) -> None:
    source, destination = f"s3://{bucket}/calls", f"s3://{bucket}/transcripts"
    keys = fill(source, 6)
    with Namespace(s3.s3) as pod:
        environment = {**stenopool.environment, "AWS_ENDPOINT_URL_S3": pod.endpoint, "AWS_MAX_ATTEMPTS": "6"}
        environment["STENOPOOL_RETRY__ATTEMPTS"] = "3"
        command = pod.command("run", source, destination, *FAST)
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            wait_until(
                lambda: any("audio.flac" in info.key for info in open_store(destination).list()),
                "audio in the work area",
                seconds=120,
                every=0.02,
                process=process,
            )
            pod.cut()
            time.sleep(15)
            assert process.poll() is None, "the run did not outlive the outage"
            pod.restore()
            said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said[-3000:]
    assert_each_once(destination, keys)


@pytest.mark.fault(
    "Prefect's API slow (a second for every fourth request) and overloaded (503 for every sixth)",
    "The run completes: nothing lost, nothing duplicated.",
)
def test_a_slow_prefect(stenopool: Program, prefect_server: PrefectServer, tmp_path: Path) -> None:
    source, destination = tmp_path / "calls", str(tmp_path / "transcripts")
    keys = fill(str(source))
    numbers = count()

    def choose(method: str, path: str) -> Fault | None:
        number = next(numbers)
        return "slow" if number % 4 == 3 else "503" if number % 6 == 4 else None

    with FaultyProxy(prefect_server.port, choose=choose, delay=1.0) as proxy:
        stenopool.extra |= {**prefect_server.environment, "PREFECT_API_URL": f"{proxy.endpoint}/api"}
        report = stenopool.json("run", source, destination, *FAST)
    assert proxy.met["slow"] > 5
    assert proxy.met["503"] > 2
    assert report["done"] == len(keys)
    assert_each_once(destination, keys)
