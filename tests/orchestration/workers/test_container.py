"""The image's programs: the entry point, as processes; its HEALTHCHECK and buckets, with real servers."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from moto.server import ThreadedMotoServer

from stenopool.orchestration.workers.container import check_health, make_buckets, read_secrets
from tests.support.processes import free_port
from tests.support.seaweedfs import SeaweedFS


def entry(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stenopool.orchestration.workers.container", "run", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


class TestSecrets:
    def test_files_named_like_variables_become_variables(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
        (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text("a=b c\n")
        read_secrets(tmp_path)
        assert os.environ.pop("AWS_SECRET_ACCESS_KEY") == "a=b c"

    def test_other_files_and_folders_are_ignored(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = dict(os.environ)
        (tmp_path / "api-keys").write_text("front-desk")
        (tmp_path / "Keys").write_text("front-desk")
        (tmp_path / "FOLDER").mkdir()
        read_secrets(tmp_path)
        read_secrets(tmp_path / "missing")
        assert dict(os.environ) == before

    def test_existing_variables_are_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "mine")
        (tmp_path / "HF_TOKEN").write_text("theirs")
        read_secrets(tmp_path)
        assert os.environ["HF_TOKEN"] == "mine"


class TestCommand:
    def test_the_exit_code_is_that_of_the_command(self) -> None:
        done = entry("sh", "-c", "echo here; exit 7")
        assert (done.returncode, done.stdout, done.stderr) == (7, "here\n", "")

    def test_signals_reach_the_command(self) -> None:
        command = [
            sys.executable,
            "-m",
            "stenopool.orchestration.workers.container",
            "run",
            "sh",
            "-c",
            "trap 'exit 9' TERM; echo up; sleep 30 & wait",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "up\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 9

    def test_an_unknown_command_is_reported(self) -> None:
        done = entry("stenopol")
        assert done.returncode == 1
        assert done.stderr == "Cannot start stenopol: No such file or directory.\n"

    def test_without_a_command_the_help_is_named(self) -> None:
        assert "stenopool --help" in entry().stderr

    def test_a_failed_selftest_prevents_the_command(self) -> None:
        done = entry("echo", "here", STENOPOOL_SELFTEST="gpu")
        assert done.returncode == 70
        assert "STENOPOOL_SELFTEST=gpu is not one of cuda, cpu, off" in done.stderr
        assert done.stdout == ""


@contextmanager
def server(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


class TestHealth:
    def test_a_server_that_responds_is_healthy(self) -> None:
        with server(200) as url:
            check_health(f"{url}/health/ready")

    def test_an_error_response_is_unhealthy(self) -> None:
        with server(503) as url, pytest.raises(SystemExit, match="503"):
            check_health(url)

    def test_a_closed_port_is_unhealthy(self) -> None:
        with pytest.raises(SystemExit, match="refused"):
            check_health(f"http://127.0.0.1:{free_port()}")


def test_an_empty_address_is_healthy_and_an_invalid_one_is_not() -> None:
    check_health("")
    with pytest.raises(SystemExit, match="not a valid address"):
        check_health("cpu")


@pytest.fixture
def there(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> SeaweedFS:
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    return seaweedfs


def test_missing_buckets_are_created_and_existing_ones_kept(
    there: SeaweedFS, capsys: pytest.CaptureFixture[str]
) -> None:
    old = there.make_bucket()
    there.client().put_object(Bucket=old, Key="call.wav", Body=b"1")
    make_buckets([f"s3://{old}", "/recordings", f"s3://{old}-new"])
    assert capsys.readouterr().out == f"Created {old}-new.\n"
    assert there.client().head_object(Bucket=old, Key="call.wav")["ContentLength"] == 1
    make_buckets([f"s3://{old}-new"])
    assert capsys.readouterr().out == ""


def test_an_aws_bucket_is_created_in_its_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS refuses a request without the region, except in us-east-1; moto too."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        for region in ("eu-central-1", "us-east-1"):
            monkeypatch.setenv("AWS_DEFAULT_REGION", region)
            make_buckets([f"s3://calls-{region}"])
    finally:
        server.stop()


def test_a_wrong_key_is_reported_at_once(there: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(SystemExit, match="403"):
        make_buckets(["s3://recordings"])


def test_an_unreachable_store_is_given_up(there: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(SystemExit, match="AWS_ENDPOINT_URL_S3"):
        make_buckets(["s3://recordings"], attempts=1)
