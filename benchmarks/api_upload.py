"""The API's memory during one large upload.

    uv run python -m benchmarks.api_upload
    uv run python -m benchmarks.api_upload --bytes 2147483648 --store s3

`stenopool serve` in a separate process, a real store, a form that is generated while it is sent. The stored object is
read back and its SHA-256 compared.
"""

import argparse
import hashlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.api_service import Installation, installation
from stenopool.api.ids import decode
from tests.support.api_server import sound

_GOAL = 300 * 1000**2


class Made(io.RawIOBase):
    """A virtual file of this many bytes: the start of a recording, then a repeated block."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._at = 0
        self._block = sound(8)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = (0, self._at, self._size)[whence] + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        begin = self._at % len(self._block)
        left = self._size - self._at
        data = self._block[begin : begin + (left if size < 0 else min(size, left))]
        self._at += len(data)
        return data


def upload(served: Installation, size: int) -> tuple[float, str]:
    """Upload a recording of this size; return the seconds and its id. Raises if the stored object differs."""
    started = time.monotonic()
    with served.client() as client:
        answer = client.post("/v1/recordings", files={"file": ("large.wav", Made(size))}).raise_for_status().json()
    seconds, digest, file = time.monotonic() - started, hashlib.sha256(), Made(size)
    while chunk := file.read(1024 * 1024):
        digest.update(chunk)
    stored = hashlib.sha256()
    for chunk in served.source.stream(decode(answer["id"])):
        stored.update(chunk)
    if not digest.hexdigest() == stored.hexdigest() == answer["sha256"]:
        raise RuntimeError("the stored object differs from the upload")
    return seconds, str(answer["id"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=2 * 1024**3)
    parser.add_argument("--store", choices=("s3", "folder"), default="s3")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="stenopool-upload-") as folder,
        installation(asked.store, Path(folder)) as served,
    ):
        before = served.peak_memory()
        seconds, _ = upload(served, asked.bytes)
        peak = served.peak_memory()
    facts = {
        "bytes": asked.bytes,
        "seconds": round(seconds, 1),
        "MB per second": round(asked.bytes / seconds / 1e6),
        "peak MB": round(peak / 1e6),
        "peak MB before": round(before / 1e6),
    }
    print(json.dumps(facts))
    sys.exit(peak > _GOAL)


if __name__ == "__main__":
    main()
