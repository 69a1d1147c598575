"""The whole cluster in a thread of the test's process, and the events that a test can cause."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import yaml
from aiohttp import web

from tests.support.kubernetes.api import Api
from tests.support.kubernetes.jobs import Jobs, delete_pod
from tests.support.kubernetes.kubelet import Image, Kubelet
from tests.support.kubernetes.rbac import User
from tests.support.kubernetes.scheduler import Node, Scheduler
from tests.support.kubernetes.store import Object, Store

T = TypeVar("T")


class Cluster:
    """Nodes, namespaces, and users with a kubeconfig. Its methods may be called from any thread."""

    def __init__(
        self,
        folder: Path,
        nodes: Sequence[Node],
        image: Image,
        *,
        namespaces: Sequence[str] = ("default",),
        claims: dict[str, Path] | None = None,
    ) -> None:
        self.folder, self.namespaces = folder, namespaces
        self.store = Store()
        for name in namespaces:
            self.store.create("namespaces", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.kubelet = Kubelet(self.store, folder, image, claims or {})
        self.api = Api(self.store, self.kubelet)
        self._controllers = (Jobs(self.store), Scheduler(self.store, nodes, list(claims or {})), self.kubelet)
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="kubernetes", daemon=True)
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def kubeconfig(self, user: User) -> Path:
        """A file that authenticates clients as that user."""
        self.api.users[user.token] = user
        path = self.folder / f"{user.name}.kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stand-in",
            "clusters": [{"name": "stand-in", "cluster": {"server": self.url}}],
            "users": [{"name": user.name, "user": {"token": user.token}}],
            "contexts": [
                {
                    "name": "stand-in",
                    "context": {"cluster": "stand-in", "user": user.name},
                }
            ],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def make_secret(self, name: str, values: dict[str, str]) -> None:
        """A secret that pods of every namespace may refer to."""
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
        for namespace in self.namespaces:
            self._call(partial(self.store.create, "secrets", namespace, secret))

    def pods(self, selector: str = "") -> list[Object]:
        """Pods by creation time."""
        found = self._call(lambda: self.store.list("pods", selector=selector))
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def jobs(self, selector: str = "") -> list[Object]:
        """Jobs by creation time."""
        found = self._call(lambda: self.store.list("jobs", selector=selector))
        return sorted(found, key=lambda job: str(job["metadata"]["creationTimestamp"]))

    def log(self, pod: Object) -> str:
        """The output of a pod."""
        path = self.kubelet.log(pod)
        return path.read_text(errors="replace") if path.exists() else ""

    def evict(self, pod: Object) -> None:
        """SIGTERM, grace, SIGKILL, and the pod is gone: a drain, a spot notice."""
        self._call(lambda: self.kubelet.evict(pod))

    def oom_kill(self, pod: Object) -> None:
        """The kernel's out-of-memory kill of a container."""
        self._call(lambda: self.kubelet.oom_kill(pod))

    def delete_by_force(self, pod: Object) -> None:
        """SIGKILL, and the pod is gone: a node that was lost."""
        metadata = pod["metadata"]
        self._call(lambda: delete_pod(self.store, metadata["namespace"], metadata["name"], grace=0))

    def _call(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(30)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        runner = web.AppRunner(self.api.application(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        control = asyncio.create_task(self._control())
        self._ready.set()
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({control, stop}, return_when=asyncio.FIRST_COMPLETED)
        if control.done():
            control.result()  # an error of the stand-in: its clients see a server that is gone
        control.cancel()
        await self.kubelet.stop()
        await runner.cleanup()

    async def _control(self) -> None:
        """Run all controllers after every change, until nothing changes."""
        while True:
            changed = self.store.changed
            for controller in self._controllers:
                controller.reconcile()
            await changed.wait()
