"""The kubelet: pods that are bound to a node, as local processes."""

import asyncio
import base64
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.support.kubernetes.jobs import delete_pod
from tests.support.kubernetes.store import ApiError, Object, Store, now


class Image(NamedTuple):
    """The contents of every image of the cluster."""

    workdir: Path
    environment: dict[str, str]


class Kubelet:
    """Starts, watches and ends the pods of all nodes. ``claims`` are the folders of persistent volumes."""

    def __init__(self, store: Store, folder: Path, image: Image, claims: dict[str, Path]) -> None:
        self.store, self.folder, self.image, self.claims = store, folder, image, claims
        self._pods: dict[str, _Pod] = {}

    def reconcile(self) -> None:
        """Start pods that were bound, and end those that are terminating."""
        for pod in self.store.list("pods"):
            uid = pod["metadata"]["uid"]
            if pod["spec"].get("nodeName") and pod["status"]["phase"] == "Pending" and uid not in self._pods:
                self._pods[uid] = _Pod(self, pod)
            if "deletionTimestamp" in pod["metadata"] and uid in self._pods:
                self._pods[uid].end(pod["metadata"]["deletionGracePeriodSeconds"])

    def log(self, pod: Object) -> Path:
        """The file with a pod's output, also after its end."""
        return self.folder / "logs" / f"{pod['metadata']['name']}.log"

    def evict(self, pod: Object) -> None:
        """Like a drain, a spot notice or a consolidation: marked, then deleted with its grace period."""
        where, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        conditions = [*pod["status"].get("conditions", []), condition]
        self.store.patch("pods", where, name, {"status": {"conditions": conditions}})
        delete_pod(self.store, where, name)

    def oom_kill(self, pod: Object) -> None:
        """Like the kernel at the memory limit: SIGKILL to all processes of the container."""
        running = self._pods[pod["metadata"]["uid"]]
        running.reason = "OOMKilled"
        running.kill()

    async def stop(self) -> None:
        """End everything at once."""
        for pod in self._pods.values():
            pod.kill()
        await asyncio.gather(*(pod.task for pod in self._pods.values()), return_exceptions=True)


class _Pod:
    """One pod's process, from its binding to its end."""

    def __init__(self, kubelet: Kubelet, pod: Object) -> None:
        self.kubelet, self.store = kubelet, kubelet.store
        self.namespace, self.name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        self.spec = pod["spec"]
        self.container = pod["spec"]["containers"][0]
        self.reason = ""
        self._process: asyncio.subprocess.Process | None = None
        self._ending: asyncio.Task[None] | None = None
        self.task = asyncio.get_running_loop().create_task(self._live(pod))

    def end(self, grace: float) -> None:
        """SIGTERM, and SIGKILL after the grace period; once."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(grace))

    def kill(self) -> None:
        """SIGKILL to all processes of the pod, also outside its process group: their environment has its name."""
        mark = f"HOSTNAME={self.name}".encode()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in environment.read_bytes().split(b"\0"):
                    os.kill(int(environment.parent.name), signal.SIGKILL)

    async def _end(self, grace: float) -> None:
        if self._process is None:
            self.task.cancel()
        elif grace >= 1:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self.task), grace)
        self.kill()
        with suppress(asyncio.CancelledError):
            await self.task
        if self.reason == "DeadlineExceeded":
            return  # it failed, but was not deleted
        with suppress(ApiError):  # another caller was faster
            self.store.delete("pods", self.namespace, self.name)

    async def _live(self, pod: Object) -> None:
        volumes = self._volumes()
        code = 137
        try:
            code = await self._run(await self._environment(pod, volumes))
        finally:
            for volume in self.spec.get("volumes", []):
                if "emptyDir" in volume:
                    shutil.rmtree(volumes[volume["name"]], ignore_errors=True)
            reason = self.reason or ("Completed" if code == 0 else "Error")
            late = self.reason == "DeadlineExceeded"
            self._report(
                "Succeeded" if code == 0 and not late else "Failed",
                {"terminated": {"exitCode": code, "reason": reason, "finishedAt": now()}},
                **({"reason": reason} if late else {}),
            )

    async def _run(self, environment: dict[str, str]) -> int:
        """The container's exit code."""
        log = self.kubelet.log({"metadata": {"name": self.name}})
        log.parent.mkdir(exist_ok=True)
        command = [*self.container.get("command", []), *self.container.get("args", [])]
        with log.open("wb") as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    env=environment,
                    cwd=self.container.get("workingDir", self.kubelet.image.workdir),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                output.write(f"exec: {error}\n".encode())
                self.reason = "StartError"
                return 128
        self._report("Running", {"running": {"startedAt": now()}}, startTime=now())
        if limit := self.spec.get("activeDeadlineSeconds"):
            asyncio.get_running_loop().call_later(limit, self._expire)
        code = await self._process.wait()
        self.kill()  # a container ends with its first process
        return code if code >= 0 else 128 - code

    def _expire(self) -> None:
        if not self.task.done():
            self.reason = "DeadlineExceeded"
            self.end(self.spec.get("terminationGracePeriodSeconds", 30))

    def _report(self, phase: str, state: Object, **more: str) -> None:
        container = {
            "name": self.container["name"], "image": self.container["image"], "imageID": "", "restartCount": 0,
            "ready": phase == "Running", "state": state,
        }  # fmt: skip
        change = {"status": {"phase": phase, "containerStatuses": [container], **more}}
        with suppress(ApiError):  # deleted by force
            self.store.patch("pods", self.namespace, self.name, change)

    def _volumes(self) -> dict[str, Path]:
        """A folder for each volume."""
        folders = {}
        for volume in self.spec.get("volumes", []):
            name = volume["name"]
            if claim := volume.get("persistentVolumeClaim"):
                folders[name] = self.kubelet.claims[claim["claimName"]]
            else:
                folders[name] = self.kubelet.folder / "volumes" / self.name / name
                folders[name].mkdir(parents=True)
        return folders

    async def _environment(self, pod: Object, volumes: dict[str, Path]) -> dict[str, str]:
        """The variables of image, secrets and container; waits for secrets that do not exist yet."""
        while True:
            changed = self.store.changed
            try:
                declared = self._declared(pod)
                break
            except ApiError as missing:
                waiting = {"reason": "CreateContainerConfigError", "message": missing.message}
                self._report("Pending", {"waiting": waiting})
            await changed.wait()
        # Without TMPDIR, /tmp would be this machine's, and leftovers of killed pods would stay.
        mine = {name: self._mounted(value, volumes) for name, value in {"TMPDIR": "/tmp", **declared}.items()}
        return {**self.kubelet.image.environment, **mine, "HOSTNAME": self.name}

    def _mounted(self, value: str, volumes: dict[str, Path]) -> str:
        """Translate a path below a mount to this machine's path; other values stay as they are."""
        for mount in self.container.get("volumeMounts", []):
            if f"{value}/".startswith(f"{mount['mountPath']}/"):
                return str(volumes[mount["name"]]) + value.removeprefix(mount["mountPath"])
        return value

    def _declared(self, pod: Object) -> dict[str, str]:
        values: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            reference = source["secretRef"]
            try:
                values |= self._secret(reference["name"])
            except ApiError:
                if not reference.get("optional"):
                    raise
        for entry in self.container.get("env", []):
            if "value" in entry:
                values[entry["name"]] = entry["value"]
            elif key := entry.get("valueFrom", {}).get("secretKeyRef"):
                values[entry["name"]] = self._secret(key["name"])[key["key"]]
            else:
                raise NotImplementedError(entry)
        return values

    def _secret(self, name: str) -> dict[str, str]:
        secret = self.store.get("secrets", self.namespace, name)
        data = {key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()}
        return {**data, **secret.get("stringData", {})}
