"""The output of a key, whatever its characters, is below the destination and belongs to that key alone."""

import os
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stenopool.errors import ErrorCode, RecordingError, StenopoolError
from stenopool.options import FORMATS, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import Selection, list_entries
from stenopool.pipeline.receipts import Receipt, output_key, receipt_key, work_key
from stenopool.runtime.characters import CONTROLS, INVISIBLE, find_unsafe
from stenopool.speech.renderers.words import clean
from stenopool.storage import ObjectStore, open_store
from stenopool.storage.local import LocalStore
from stenopool.storage.s3 import S3Store

PARTS = [
    *(
        "..",
        ".",
        "",
        "...",
        "a",
        "A",
        "a.wav",
        " ",
        "~",
        "-rf",
        "--",
        "con",
        "NUL",
        "aux.txt",
        "a:b",
        "a\\b",
        "..\\..\\b",
    ),
    *(".receipts", ".work", ".batches", "transcript.json", "_SUCCESS", ".stenopool-write-0", "a!" + "0" * 32 + ".json"),
    *("\n", "a\nINFO forged", "\r", "\t", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u202e", "\u200b", "\ufeff", "\0"),
    *(
        "caf\u00e9",
        "cafe\u0301",
        "\u212b",
        "\u00c5",
        "ﬁ",
        "日本",
        "🎙️",
        "\ud800",
        "%2e%2e",
        "%2F",
        "%00",
        "..%2f",
        "$(id)",
    ),
    *("<script>", '"', "'", "`id`", "*", "?", "=1+1", "x" * 255, "x" * 256, "é" * 130, "x" * 1024),
]
parts = st.sampled_from(PARTS) | st.text(max_size=8)
keys = st.lists(parts, min_size=1, max_size=5).map("/".join)
REFUSED = (ErrorCode.KEY_UNUSABLE, ErrorCode.OBJECT_NOT_FOUND)
FINGERPRINT = "0123456789abcdef" * 2


def written_for(key: str) -> list[str]:
    """Every key at the destination that a recording's work is written to."""
    return [
        *(output_key(key, format) for format in FORMATS),
        *(receipt_key(key, FINGERPRINT, status) for status in ("done", "quarantined")),
    ]


def usable(key: str) -> bool:
    try:
        written_for(key)
    except RecordingError as error:
        if error.code != ErrorCode.KEY_UNUSABLE:
            raise
        return False
    return True


BEFORE_NUMBERS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"


def _is_misleading(character: str) -> bool:
    """By Unicode's own tables: controls, format characters, surrogates, line separators, noncharacters."""
    number = ord(character)
    is_noncharacter = number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF
    by_category = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return (by_category or is_noncharacter) and character not in "\u200c\u200d"


def test_new_names_and_displayed_names_have_no_misleading_characters() -> None:
    """All of Unicode. Displayed names keep the signs before Arabic and Kaithi numbers, which are visible."""
    everything = set(map(chr, range(sys.maxunicode + 1)))
    misleading = set(filter(_is_misleading, everything))
    assert len(misleading) > 2000
    assert all(find_unsafe(f"a{character}") == character for character in misleading)
    removed = everything - set(INVISIBLE.sub("", CONTROLS.sub("", "".join(sorted(everything)))))
    assert misleading - removed == set(BEFORE_NUMBERS)
    assert {unicodedata.category(character) for character in removed - misleading} == {"Cn"}  # newer than the tables
    for character in misleading - set(BEFORE_NUMBERS):
        assert clean(f"a{character}b") in ("ab", "a b")


@pytest.mark.parametrize("sign", [*BEFORE_NUMBERS, "\u200c", "\u200d"], ids=ascii)
def test_displayed_names_keep_characters_that_scripts_need(sign: str) -> None:
    assert clean(f"a{sign}1") == f"a{sign}1"


@given(keys, keys)
@settings(max_examples=2000, deadline=None)
def test_two_recordings_never_share_an_output(one: str, other: str) -> None:
    if one != other and usable(one) and usable(other):
        assert not set(written_for(one)) & set(written_for(other))


@given(keys)
@settings(max_examples=2000, deadline=None)
def test_no_transcript_can_be_mistaken_for_a_receipt_or_a_checkpoint(key: str) -> None:
    if usable(key) and not key.startswith(".work/"):
        outputs = [output_key(key, format) for format in FORMATS]
        assert all(receipts.parse_receipt_key(output) is None for output in outputs)
        assert not any(output.startswith(work_key(FINGERPRINT, "")) for output in outputs)


@given(st.lists(keys, max_size=6, unique=True))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_stay_below_the_folder(tmp_path: Path, some: list[str]) -> None:
    """Each is refused, or reads back its own content; nothing is created or deleted outside the folder."""
    outside = tmp_path / f"outside-{os.urandom(8).hex()}"
    root = outside / "destination"
    root.mkdir(parents=True)
    (outside / "secret").write_bytes(b"secret")
    store, kept = LocalStore(root), {}
    for key in some:
        for place in (output_key(key, "json"), output_key(key, "html")):
            try:
                store.put_bytes(place, repr((key, place)).encode())
                kept[place] = repr((key, place)).encode()
            except StenopoolError as error:
                if error.code not in REFUSED:
                    raise
    assert {place: store.get_bytes(place) for place in kept} == kept
    assert sorted(path.name for path in outside.iterdir()) == ["destination", "secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(files) == len(kept)
    assert all(path.resolve().is_relative_to(root.resolve()) for path in files)


NASTY = [
    *(
        "../secret.wav",
        "a/../../secret.wav",
        "a/./b.wav",
        "/etc/passwd",
        "a//b.wav",
        "a/",
        "new\nline.wav",
        "\x1b[2J.wav",
    ),
    *(
        "caf\u00e9.wav",
        "cafe\u0301.wav",
        "A.wav",
        "a.wav",
        "%2e%2e/a.wav",
        "..%2Fa.wav",
        "con",
        "=1+1.wav",
        "<script>.wav",
    ),
    *(
        "x" * 1024,
        "y/" * 300 + "z.wav",
        "é" * 512,
        "w" * 256 + ".wav",
        "a.wav/transcript.json",
        "-rf.wav",
        "\u202egpj.wav",
    ),
    *("a!" + "0" * 32 + ".json.wav", "$(id).wav", " .wav", "🎙️.wav"),
]


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_hostile_bucket_keys_are_processed_or_refused(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Listed by a real S3 server, then through catalog, outputs and receipts: each ends in one of two ways."""
    bucket = request.getfixturevalue("bucket")
    source = S3Store(bucket, "source")
    destination: ObjectStore = open_store(str(tmp_path / "out")) if kind == "local" else S3Store(bucket, "destination")
    for key in NASTY:
        try:
            source.put_bytes(key, b"x")
        except StenopoolError as error:
            if error.code not in REFUSED:
                raise
    (tmp_path / "secret.wav").write_bytes(b"secret")
    options, ends = TranscriptionOptions(), {}
    for entry in list_entries(source, destination, options, Selection(include=("*",))):
        key = entry.recording.key
        failure = entry.failure
        if failure is None:
            try:
                destination.put_bytes(output_key(key, "json"), key.encode())
                done = Receipt(key=key, fingerprint=entry.fingerprint, status="done", formats=FORMATS)
                receipts.write(destination, done)
            except RecordingError as error:
                failure = error.failure("upload")
        if failure:
            assert failure.code == ErrorCode.KEY_UNUSABLE
            assert failure.remedy
        ends[key] = failure.code if failure else "done"
    done_keys = [key for key, end in ends.items() if end == "done"]
    assert len(done_keys) >= 15
    for key in done_keys:
        assert destination.get_bytes(output_key(key, "json")) == key.encode()
    again = {
        entry.recording.key: entry.state
        for entry in list_entries(source, destination, options, Selection(include=("*",)))
    }
    assert {key for key, state in again.items() if state == "done"} == set(done_keys)
    assert (tmp_path / "secret.wav").read_bytes() == b"secret"
    assert sorted(path.name for path in tmp_path.iterdir()) == ([*(["out"] if kind == "local" else []), "secret.wav"])


@pytest.mark.parametrize("folder", [".receipts", ".work", ".batches", ".metrics", ".callbacks"])
def test_our_own_folders_are_never_recordings_even_by_name(folder: str, tmp_path: Path) -> None:
    """The transcript of such a key would be mistaken for a receipt, or cleaned with the work area."""
    key = f"{folder}/{FINGERPRINT}"
    source, destination = LocalStore(tmp_path / "in"), LocalStore(tmp_path / "out")
    source.put_bytes(key, b"x")
    selection = Selection(only=(key,), include=("*",))
    assert list(list_entries(source, destination, TranscriptionOptions(), selection)) == []
