"""One object never stops the others: any error of it becomes its own outcome, in folders and on S3.

Conversely, an error of a whole store ends the run, and marks no recording.
"""

import errno
import os
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace as replace_fields
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stenopool.errors import (
    AccessDenied,
    ErrorCode,
    ObjectNotFound,
    OutputDenied,
    StenopoolError,
    StorageUnavailable,
)
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.checkpoints import ASSIGNED
from stenopool.pipeline.context import Job, RunContext, Stage
from stenopool.pipeline.evidence import check_reading, check_writing
from stenopool.pipeline.receipts import WORK, list_receipts
from stenopool.pipeline.shards import Plan
from stenopool.pipeline.stages import QUARANTINE
from stenopool.pipeline.stages.prepare import FETCH
from stenopool.pipeline.stages.publish import RECEIPT, UPLOAD
from stenopool.runtime.scratch import Scratch
from stenopool.storage import open_store
from stenopool.storage.base import Walk
from stenopool.storage.s3 import S3Store, process_client
from tests.speech.renderers.samples import conversation
from tests.support.faults import Fault, FaultyProxy
from tests.support.permissions import permissions_hold
from tests.support.runs import carry, run_context
from tests.support.seaweedfs import SeaweedFS

OPTIONS, EXECUTION = TranscriptionOptions(), ExecutionOptions(formats=("json", "txt"))


def speak(_run: RunContext, job: Job) -> None:
    """In place of decoding and transcription, which are independent of stores."""
    job.known_duration = 9.5
    job.work.keep(ASSIGNED, conversation())


SPEAK = Stage("speak", speak, waits_for=(FETCH,))
UPLOADED = replace_fields(UPLOAD, waits_for=(SPEAK,))
STAGES = (FETCH, SPEAK, UPLOADED, replace_fields(RECEIPT, waits_for=(UPLOADED,)), QUARANTINE)


ENDS = ("done", "quarantined", "deferred")


def run_batch(
    run: RunContext, selection: Selection | None = None, *, meanwhile: Callable[[], object] = lambda: None
) -> tuple[dict[str, ErrorCode | None], list[BaseException]]:
    """Run a batch; return each key with its error code (None: it has a transcript and a receipt), and the errors that
    ended the run.

    ``meanwhile``: called between the listing and the fetching.
    """
    plan = Plan(run.source, run.destination, run.options, selection or Selection())
    items = list(plan.items())
    meanwhile()
    ends: dict[str, ErrorCode | None] = {failed.key: failed.failure.code for failed in plan.unusable}
    jobs, errors = carry(run, STAGES, items) if items else ([], [])
    for job in jobs:
        if job.outcome:
            assert job.key not in ends
            assert job.outcome.status == ("done" if job.failure is None else _end_of(job.failure.code))
            ends[job.key] = job.failure.code if job.failure else None
    if jobs and not errors:
        by_status = {
            status: {job.key for job in jobs if job.outcome and job.outcome.status == status} for status in ENDS
        }
        assert by_status["done"] <= set(receipts_of(run, "done"))
        assert by_status["quarantined"] <= set(receipts_of(run, "quarantined"))
        assert by_status["deferred"].isdisjoint((*receipts_of(run, "done"), *receipts_of(run, "quarantined")))
    return ends, errors


def receipts_of(run: RunContext, status: str) -> list[str]:
    return [name.key for name in list_receipts(run.destination) if name.status == status]


def _end_of(code: ErrorCode) -> str:
    return "deferred" if code.retryable else "quarantined"


# -- folders ----------------------------------------------------------------------------------------------------------


def forbid(path: Path) -> None:
    path.chmod(0)


def replace(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def bind_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))


def write_file(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()


def make_device(path: Path) -> None:
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    except PermissionError:  # not root, or in a container: a pipe is not a file either
        os.mkfifo(path)


LISTED: dict[str, tuple[Callable[[Path], object], ErrorCode]] = {
    "unreadable": (forbid, ErrorCode.OBJECT_DENIED),
    "pipe": (lambda path: replace(path, os.mkfifo), ErrorCode.NOT_A_FILE),
    "socket": (lambda path: replace(path, bind_socket), ErrorCode.NOT_A_FILE),
    "device": (lambda path: replace(path, make_device), ErrorCode.NOT_A_FILE),
    "broken link": (lambda path: replace(path, lambda at: at.symlink_to("nothing")), ErrorCode.NOT_A_FILE),
    "link to itself": (lambda path: replace(path, lambda at: at.symlink_to(at.name)), ErrorCode.NOT_A_FILE),
    "link to the outside": (
        lambda path: replace(path, lambda at: at.symlink_to("/etc/hostname")),
        ErrorCode.NOT_A_FILE,
    ),
}
AFTER: dict[str, tuple[Callable[[Path], object], ErrorCode]] = {
    "gone": (Path.unlink, ErrorCode.OBJECT_GONE),
    "replaced by a folder": (lambda path: replace(path, Path.mkdir), ErrorCode.OBJECT_GONE),
    "replaced by a pipe": (lambda path: replace(path, os.mkfifo), ErrorCode.OBJECT_GONE),
    "changed content": (lambda path: path.write_bytes(b"longer than before"), ErrorCode.SOURCE_CHANGED),
    "its folder is unreadable": (lambda path: path.parent.chmod(0), ErrorCode.OBJECT_DENIED),
}
OUTPUTS: dict[str, tuple[Callable[[Path], object], ErrorCode]] = {
    "another user's output folder": (lambda path: path.mkdir(0o500, parents=True), ErrorCode.OUTPUT_DENIED),
    "a file in place of the output folder": (write_file, ErrorCode.KEY_UNUSABLE),
}
FOLDER_FAULTS = LISTED | AFTER | OUTPUTS


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    with Scratch() as scratch:
        yield scratch


def unlock(root: Path) -> None:
    for path in [root, *root.iterdir()]:
        path.chmod(0o700)
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700)


ROUNDS = int(os.environ.get("STENOPOOL_TEST_ROUNDS", "10"))  # more where CI has time
few = settings(max_examples=ROUNDS, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(st.lists(st.sampled_from([None, None, *FOLDER_FAULTS]), min_size=1, max_size=10))
def test_any_faults_in_a_folder_affect_only_their_objects(
    tmp_path_factory: pytest.TempPathFactory, scratch: Scratch, faults: list[str | None]
) -> None:
    folder = tmp_path_factory.mktemp("faults")
    run = run_context(folder, scratch, execution=EXECUTION)
    paths = {}
    for number, fault in enumerate(faults):
        path = folder / "source" / f"{number}" / "a.wav"
        path.parent.mkdir()
        path.write_bytes(b"sound")
        paths[path] = fault
        if fault in LISTED:
            LISTED[fault][0](path)
        if fault in OUTPUTS:
            OUTPUTS[fault][0](folder / "out" / f"{number}" / "a.wav")

    def spoil() -> None:
        for path, fault in paths.items():
            if fault in AFTER:
                AFTER[fault][0](path)

    try:
        with permissions_hold():
            ends, errors = run_batch(run, meanwhile=spoil)
    finally:
        unlock(folder / "source")
    assert not errors
    expected = {f"{n}/a.wav": FOLDER_FAULTS[fault][1] if fault else None for n, fault in enumerate(faults)}
    assert ends == expected
    # They are readable and writable again. Nothing else has to be reset.
    for path in folder.glob("out/*/a.wav"):
        path.chmod(0o700)
    again, errors = run_batch(run)
    assert not errors
    denied = (ErrorCode.OBJECT_DENIED, ErrorCode.OUTPUT_DENIED)
    assert {key: again[key] for key, code in expected.items() if code in denied} == {
        key: None for key, code in expected.items() if code in denied
    }


def test_an_unlistable_folder_is_named_and_the_rest_is_processed(tmp_path: Path, scratch: Scratch) -> None:
    run = run_context(tmp_path, scratch, execution=EXECUTION)
    source = tmp_path / "source"
    for name in ("a.wav", "lost+found/x.wav", "r/no search.wav", "z/z.wav", ".Trash-0/t.wav", "docs/pipe.txt/x.wav"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"sound")
    shutil.rmtree(source / "docs" / "pipe.txt")
    os.mkfifo(source / "docs" / "pipe.txt")  # never a recording, so not reported
    (source / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"latin-1")
    (source / os.fsdecode(b"d\xe9")).mkdir()
    (source / "lost+found").chmod(0)
    (source / ".Trash-0").chmod(0)
    (source / "r").chmod(0o400)  # names can be read, files not
    try:
        with permissions_hold():
            ends, errors = run_batch(run)
            left, _ = run_batch(run, Selection(exclude=("lost+found/*", "r", "*caf*", "d*")))
            by_name, _ = run_batch(run, Selection(exclude=("lost+found",), include=("*.wav",)))
            inner, _ = run_batch(run, Selection(include=("z/*",)))
    finally:
        unlock(source)
    assert not errors
    assert ends == {
        "a.wav": None,
        "z/z.wav": None,
        "lost+found/": ErrorCode.OBJECT_DENIED,
        "r/no search.wav": ErrorCode.OBJECT_DENIED,
        r"caf\xe9.wav": ErrorCode.KEY_UNUSABLE,
        r"d\xe9/": ErrorCode.KEY_UNUSABLE,
    }
    assert left == {"r/no search.wav": ErrorCode.OBJECT_DENIED}, "the rest is done or excluded"
    assert "lost+found/" not in by_name
    assert inner == {}, "no other folder can contain included files"


def test_an_excluded_folder_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/a.wav", "b/b.wav", "b/c/d.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    opened, real = [], os.open
    monkeypatch.setattr(os, "open", lambda path, *rest, **named: opened.append(str(path)) or real(path, *rest, **named))
    source, selection = open_store(str(tmp_path)), Selection(exclude=("b/*",))
    assert [info.key for info in source.list(walk=Walk(selection.enters))] == ["a/a.wav"]
    assert opened == [str(tmp_path), "a"]


@pytest.mark.parametrize(
    ("folder", "given", "entered"),
    [
        ("lost+found/", {"exclude": ("lost+found/*",)}, False),
        ("lost+found/", {"exclude": ("lost+found/*.wav",)}, True),
        ("a/lost+found/", {"exclude": ("*lost+found*",)}, False),
        ("a/", {"exclude": ("a/*x",)}, True),
        ("a/b/", {"exclude": ("a/*",)}, False),
        ("a/", {"exclude": ("a/b/*",)}, True),
        ("2026/", {"include": ("2025/*",)}, False),
        ("2026/", {"include": ("2026/11/*.wav",)}, True),
        ("2026/11/", {"include": ("2026/*",)}, True),
        ("2026/11/", {"include": ("*.wav",)}, True),
        ("2026/", {"include": ("20[12]*",)}, True),
    ],
)
def test_folders_are_entered_only_if_patterns_can_match(
    folder: str, given: dict[str, tuple[str, ...]], entered: bool
) -> None:
    assert Selection(**given).enters(folder) is entered  # type: ignore[arg-type]


@given(st.text("ab/*.?", min_size=1, max_size=8), st.text("ab", min_size=1, max_size=4), st.text("ab./", max_size=4))
def test_a_skipped_folder_contains_no_selected_recordings(pattern: str, folder: str, rest: str) -> None:
    for selection in (Selection(exclude=(pattern,), include=("*",)), Selection(include=(pattern,))):
        if not selection.enters(f"{folder}/"):
            assert not selection.takes(f"{folder}/{rest}", 0.0)


def test_a_very_deep_folder_stops_nothing(tmp_path: Path, scratch: Scratch) -> None:
    run = run_context(tmp_path, scratch, execution=EXECUTION)
    (tmp_path / "source" / "z.wav").write_bytes(b"sound")
    held = os.open(tmp_path / "source", os.O_RDONLY)
    for _ in range(700):  # a path may be longer than the system accepts in one piece
        os.mkdir("d", dir_fd=held)
        inner = os.open("d", os.O_RDONLY, dir_fd=held)
        os.close(held)
        held = inner
    os.close(held)
    ends, errors = run_batch(run)
    assert not errors
    assert ends.pop("z.wav") is None
    assert set(ends.values()) == {ErrorCode.KEY_UNUSABLE}
    subprocess.run(["rm", "-rf", tmp_path / "source"], check=True)


def test_a_damaged_disk_affects_only_its_files(tmp_path: Path, scratch: Scratch) -> None:
    """EIO is produced by reading a process's memory at address 0."""
    run = run_context(tmp_path, scratch, execution=EXECUTION)
    for name in ("bad.wav", "good.wav"):
        (tmp_path / "source" / name).write_bytes(b"sound")
    items = list(Plan(run.source, run.destination, OPTIONS, Selection()).items())
    mounted = subprocess.run(["mount", "--bind", f"/proc/{os.getpid()}/mem", tmp_path / "source" / "bad.wav"])
    if mounted.returncode:
        pytest.skip("no right to mount")
    try:
        broken = run.source.head("bad.wav")
        items[0] = items[0].model_copy(
            update={"recording": items[0].recording.model_copy(update={"etag": broken.etag, "size": 5})}
        )
        jobs, errors = carry(run, STAGES, items, attempts=2)
    finally:
        subprocess.run(["umount", tmp_path / "source" / "bad.wav"], check=True)
    assert not errors
    codes = {job.key: job.failure.code if job.failure else None for job in jobs}
    assert codes == {"bad.wav": ErrorCode.OBJECT_UNREADABLE, "good.wav": None}
    assert os.strerror(errno.EIO) in next(job.failure.message for job in jobs if job.failure)


def test_a_source_that_disappears_ends_the_run_and_marks_nothing(tmp_path: Path, scratch: Scratch) -> None:
    run = run_context(tmp_path, scratch, execution=EXECUTION)
    for name in "abcdefghijkl":
        (tmp_path / "source" / f"{name}.wav").write_bytes(b"sound")
    ends, errors = run_batch(run, meanwhile=lambda: (tmp_path / "source").rename(tmp_path / "elsewhere"))
    assert [type(error) for error in errors] == [ObjectNotFound]
    assert str(tmp_path / "source") in str(errors[0])
    assert ends == {}


@pytest.mark.parametrize("mode", [0, 0o400])
def test_a_source_without_permission_ends_the_run(mode: int, tmp_path: Path, scratch: Scratch) -> None:
    run = run_context(tmp_path, scratch, execution=EXECUTION)
    (tmp_path / "source" / "a.wav").write_bytes(b"sound")
    with permissions_hold():
        ends, errors = run_batch(run, meanwhile=lambda: (tmp_path / "source").chmod(mode))
        (tmp_path / "source").chmod(0o700)
    assert [type(error) for error in errors] == [AccessDenied]
    assert ends == {}


# -- S3 ---------------------------------------------------------------------------------------------------------------

S3_OUTPUT_FAULTS: dict[str, tuple[Fault, ErrorCode]] = {
    "output denied": ("denied", ErrorCode.OUTPUT_DENIED),
    "output refused": ("refused", ErrorCode.STORAGE_UNAVAILABLE),
    "output full": ("full", ErrorCode.STORAGE_UNAVAILABLE),
}
S3_FAULTS: dict[Fault, ErrorCode] = {
    "denied": ErrorCode.OBJECT_DENIED,
    "archived": ErrorCode.OBJECT_ARCHIVED,
    "no-kms": ErrorCode.OBJECT_ENCRYPTED,
    "kms-off": ErrorCode.OBJECT_ENCRYPTED,
    "sse-c": ErrorCode.OBJECT_ENCRYPTED,
    "gone": ErrorCode.OBJECT_GONE,
    "law": ErrorCode.OBJECT_UNREADABLE,
    "503": ErrorCode.OBJECT_UNREADABLE,
    "refused": ErrorCode.OBJECT_UNREADABLE,
    "short": ErrorCode.OBJECT_UNREADABLE,
    "etag": ErrorCode.SOURCE_CHANGED,
}
_examples = count()


@pytest.fixture
def faulty(s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The server, behind a proxy whose faults each test chooses."""
    with FaultyProxy(s3.s3) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        process_client.cache_clear()
        yield proxy


def spoil_objects(proxy: FaultyProxy, faults: dict[str, Fault]) -> None:
    """Reading these keys, or writing below them, meets these faults; listing works."""

    def choose(method: str, path: str) -> Fault | None:
        place, _, _ = path.partition("?")
        key = place.partition("/in/" if method == "GET" else "/out/")[2].removesuffix("/transcript.txt")
        return faults.get(f"{method} {key}")

    proxy.choose = choose


def s3_run(bucket: str, scratch: Scratch) -> RunContext:
    number = next(_examples)
    return RunContext(S3Store(bucket, f"{number}/in"), S3Store(bucket, f"{number}/out"), OPTIONS, EXECUTION, scratch)


@few
@given(faults=st.lists(st.sampled_from([None, None, *S3_FAULTS, *S3_OUTPUT_FAULTS]), min_size=1, max_size=10))
def test_any_faults_of_s3_objects_affect_only_them_and_the_next_run_retries(
    scratch: Scratch,
    faulty: FaultyProxy,
    bucket: str,
    faults: list[Any],
) -> None:
    run = s3_run(bucket, scratch)
    spoil_objects(faulty, {})
    for number in range(len(faults)):
        run.source.put_bytes(f"{number}.wav", b"sound")
    met: dict[str, Fault] = {f"GET {number}.wav": fault for number, fault in enumerate(faults) if fault in S3_FAULTS}
    expected: dict[str, ErrorCode | None] = {
        f"{number}.wav": S3_FAULTS.get(fault) for number, fault in enumerate(faults)
    }
    for number, fault in enumerate(faults):
        if fault in S3_OUTPUT_FAULTS:
            met[f"PUT {number}.wav"], expected[f"{number}.wav"] = S3_OUTPUT_FAULTS[fault]
    spoil_objects(faulty, met)
    ends, errors = run_batch(run)
    assert not errors
    assert ends == expected
    spoil_objects(faulty, {})
    again, errors = run_batch(run)
    assert not errors
    left = [key for key, code in expected.items() if code]
    assert again == dict.fromkeys(left), "they were restored, allowed, repaired: nothing has to be reset"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("denied", AccessDenied),
        ("expired", AccessDenied),
        ("no-bucket", ObjectNotFound),
        ("refused", StorageUnavailable),
    ],
)
def test_a_store_that_refuses_everything_ends_the_run_and_marks_nothing(
    fault: Fault, kind: type[StenopoolError], scratch: Scratch, faulty: FaultyProxy, bucket: str
) -> None:
    run = s3_run(bucket, scratch)
    for number in range(20):
        run.source.put_bytes(f"{number}.wav", b"sound")

    def refuse() -> None:
        faulty.choose = lambda _method, _path: fault

    ends, errors = run_batch(run, meanwhile=refuse)
    assert [type(error) for error in errors] == [kind]
    assert [code for code in ends.values() if code is not None and kind is not StorageUnavailable] == []


def test_one_check_of_the_root_serves_many_objects(scratch: Scratch, faulty: FaultyProxy, bucket: str) -> None:
    run = s3_run(bucket, scratch)
    for number in range(40):
        run.source.put_bytes(f"{number}.wav", b"sound")
    asked: Counter[str] = Counter()

    def choose(method: str, path: str) -> Fault | None:
        if "in%2F" in path or "/in/" in path:
            asked["list" if "list-type" in path else method] += 1
        return "denied" if method == "GET" and "/in/" in path.partition("?")[0] else None

    ends, errors = run_batch(run, meanwhile=lambda: setattr(faulty, "choose", choose))
    assert not errors
    assert Counter(ends.values()) == {ErrorCode.OBJECT_DENIED: 40}
    assert asked["GET"] == 40
    assert asked["list"] <= 3


def test_an_archived_old_transcript_is_overwritten(scratch: Scratch, faulty: FaultyProxy, bucket: str) -> None:
    """A bucket's lifecycle rules also archive old transcripts."""
    run = s3_run(bucket, scratch)
    run.source.put_bytes("a.wav", b"sound")
    run.destination.put_bytes("a.wav/transcript.json", b"{}")
    faulty.choose = lambda method, path: "archived" if method == "GET" and "/transcript.json" in path else None
    assert run_batch(run) == ({"a.wav": None}, [])


# -- the destination --------------------------------------------------------------------------------------------------


def test_an_unwritable_output_affects_only_its_recording(tmp_path: Path, scratch: Scratch) -> None:
    run = run_context(tmp_path, scratch, execution=EXECUTION)

    def write(run: RunContext, job: Job) -> None:
        if job.key == "b.wav":
            raise OutputDenied("put b.wav/transcript.json: Permission denied.")

    for name in "abc":
        (tmp_path / "source" / f"{name}.wav").write_bytes(b"sound")
    items = list(Plan(run.source, run.destination, OPTIONS, Selection()).items())
    stages = (Stage("upload", write), QUARANTINE)
    jobs, errors = carry(run, stages, items)
    assert not errors
    assert {job.key: job.failure and job.failure.code for job in jobs} == {
        "a.wav": None,
        "b.wav": ErrorCode.OUTPUT_DENIED,
        "c.wav": None,
    }
    assert list(run.destination.list(WORK)) == [], "the check left nothing"

    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out").chmod(0o500)
    run = run_context(tmp_path, scratch, execution=EXECUTION)
    with permissions_hold():
        _, errors = carry(run, stages, items)
    (tmp_path / "out").chmod(0o700)
    assert [type(error) for error in errors] == [AccessDenied]


def test_a_store_that_is_down_after_the_last_attempt_ends_the_run(tmp_path: Path, scratch: Scratch) -> None:
    run = run_context(tmp_path, scratch, execution=EXECUTION)
    for name in "ab":
        (tmp_path / "source" / f"{name}.wav").write_bytes(b"sound")
    items = list(Plan(run.source, run.destination, OPTIONS, Selection()).items())

    def work(_run: RunContext, job: Job) -> None:
        if job.key == "a.wav":
            raise StorageUnavailable(f"{job.key} met a reset")

    jobs, errors = carry(run, (Stage("upload", work), QUARANTINE), items, attempts=2)
    assert not errors, "the stores answer: only this recording waits"
    assert {job.key: job.failure and job.failure.message for job in jobs} == {
        "a.wav": "a.wav met a reset",
        "b.wav": None,
    }
    (tmp_path / "source").rename(tmp_path / "elsewhere")
    run = run_context(tmp_path, scratch, execution=EXECUTION)
    (tmp_path / "source").rmdir()
    _, errors = carry(run, (Stage("upload", work), QUARANTINE), items, attempts=2)
    assert [type(error) for error in errors] == [ObjectNotFound]


def test_checks_of_stores_report_errors_and_write_nothing(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    assert isinstance(check_reading(store).find_fault(), ObjectNotFound)
    assert check_writing(store).find_fault() is None
    assert list(store.list()) == []


def test_deferred_recordings_do_not_use_up_max_count(tmp_path: Path) -> None:
    source, destination = open_store(str(tmp_path / "in")), open_store(str(tmp_path / "out"))
    for name in "abcd":
        source.put_bytes(f"{name}.wav", b"sound")
    plan = Plan(source, destination, OPTIONS, Selection(max_count=2))
    first = list(plan.items())
    assert [item.recording.key for item in first] == ["a.wav", "b.wav"]
    plan = Plan(source, destination, OPTIONS, Selection(max_count=3), waited=frozenset(i.fingerprint for i in first))
    assert [item.recording.key for item in plan.items()] == ["c.wav", "d.wav", "a.wav"]
