"""Docker Compose from Debian's package: reads and checks compose files without an engine.

``python -m tests.support.compose`` downloads it (.ci/run does, so that a failed download is visible).
"""

import os
import subprocess
import tempfile
from pathlib import Path

# Debian 12 has compose 1, which supports other files.
_SUITE, _VERSION = "trixie", "2.26"
CACHE = (
    Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "stenopool-tests" / f"docker-compose-{_VERSION}"
)


def fetch() -> Path:
    """The program; apt checks the archive's signature.

    Raises subprocess.CalledProcessError if Debian's archive cannot be reached, OSError if there is no apt.
    """
    program = CACHE / "usr/libexec/docker/cli-plugins/docker-compose"
    if not program.exists():
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE.parent) as name:
            folder = Path(name)
            (folder / "lists/partial").mkdir(parents=True)
            keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
            (folder / "sources.list").write_text(f"deb [signed-by={keyring}] {_archive()} {_SUITE} main\n")
            apt = [
                "apt-get", "-qq", f"-oDir::Etc::SourceList={folder}/sources.list", "-oDir::Etc::SourceParts=-",
                f"-oDir::State::lists={folder}/lists", f"-oDir::Cache={folder}", "-oAPT::Sandbox::User=root",
                "-oAcquire::Languages=none",
            ]  # fmt: skip
            subprocess.run([*apt, "update"], check=True, capture_output=True, timeout=300)
            subprocess.run(
                [*apt, "download", "docker-compose"], check=True, capture_output=True, cwd=folder, timeout=300
            )
            (package,) = folder.glob("docker-compose_*.deb")
            subprocess.run(["dpkg-deb", "--extract", package, folder / "tree"], check=True)
            if not CACHE.exists():
                (folder / "tree").rename(CACHE)
    return program


def _archive() -> str:
    """The address of this machine's Debian archive."""
    for file in (*Path("/etc/apt/sources.list.d").glob("*.sources"), Path("/etc/apt/sources.list")):
        for line in file.read_text().splitlines() if file.exists() else ():
            for word in line.split():
                if word.startswith("http") and word.rstrip("/").endswith("/debian"):
                    return word
    raise OSError("apt knows no archive of Debian's")


if __name__ == "__main__":
    print(fetch())
