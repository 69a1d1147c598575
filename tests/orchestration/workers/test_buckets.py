"""Buckets are made in a real store, once."""

import pytest

from stenopool.orchestration.workers.buckets import make
from tests.support.processes import free_port
from tests.support.seaweedfs import SeaweedFS


@pytest.fixture
def there(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> SeaweedFS:
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    return seaweedfs


def test_makes_what_is_not_there_and_keeps_what_is(there: SeaweedFS, capsys: pytest.CaptureFixture[str]) -> None:
    old = there.make_bucket()
    there.client().put_object(Bucket=old, Key="call.wav", Body=b"1")
    make([old, f"{old}-new"])
    assert capsys.readouterr().out == f"Made {old}-new.\n"
    assert there.client().head_object(Bucket=old, Key="call.wav")["ContentLength"] == 1
    make([f"{old}-new"])
    assert capsys.readouterr().out == ""


def test_a_wrong_key_is_told_at_once(there: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(SystemExit, match="403"):
        make(["recordings"])


def test_a_store_that_does_not_come_is_given_up(there: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SystemExit, match="AWS_ENDPOINT_URL_S3"):
        make(["recordings"], patience=0)
