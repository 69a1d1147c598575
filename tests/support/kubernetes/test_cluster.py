"""The stand-in behaves like a real cluster, tested with Kubernetes' own client."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kubernetes_asyncio import client, config
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.watch import Watch

from tests.support.kubernetes import Cluster, Image, Node, Rule, Taint, User
from tests.support.waiting import wait_until

ALL = frozenset("*")
ADMIN = User("admin", tuple(Rule(None, group, name, ALL) for group, name in [("batch", "jobs"), ("", "pods/log")]))
NODES = [
    Node("cpu-1", {"cpu": "4", "memory": "8Gi"}),
    Node("gpu-1", {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}, taints=(Taint("nvidia.com/gpu", "present"),)),
]
ON_GPU: dict[str, Any] = {
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "resources": {"limits": {"nvidia.com/gpu": "1"}},
}
# Reports when it is ready for SIGTERM; exits with 0 on it.
PATIENT = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    environment = {"PATH": str(Path(sys.executable).parent)}
    with Cluster(tmp_path, NODES, Image(tmp_path, environment)) as cluster:
        yield cluster


def job(script: str, *, resources: dict[str, Any] | None = None, name: str = "", **more: Any) -> dict[str, Any]:
    of_job = {key: more.pop(key) for key in ("podReplacementPolicy", "ttlSecondsAfterFinished") if key in more}
    container = {"name": "main", "image": "any", "args": ["python", "-c", script], "resources": resources or {}}
    pod = {"restartPolicy": "Never", "containers": [container], **more}
    metadata = {"name": name} if name else {"generateName": "job-"}
    return {"metadata": metadata, "spec": {"backoffLimit": 0, **of_job, "template": {"spec": pod}}}


def ask(cluster: Cluster, user: User, what: Callable[[Any], Any], api: str = "BatchV1Api") -> Any:
    async def call() -> Any:
        async with await config.new_client_from_config(str(cluster.kubeconfig(user))) as connection:
            return await what(getattr(client, api)(connection))

    return asyncio.run(call())


def create(cluster: Cluster, body: dict[str, Any], user: User = ADMIN) -> Any:
    return ask(cluster, user, lambda api: api.create_namespaced_job("default", body))


until = partial(wait_until, seconds=15, every=0.02)


def one_pod(cluster: Cluster, phase: str) -> Any:
    return until(lambda: [pod for pod in cluster.pods() if pod["status"]["phase"] == phase])[0]


def finished(cluster: Cluster) -> Any:
    return until(lambda: [one for one in cluster.jobs() if one["status"].get("conditions")])[0]["status"]


def test_a_job_runs_its_command_and_succeeds(cluster: Cluster) -> None:
    create(cluster, job("import os; print(os.environ['HOSTNAME'])"))
    assert finished(cluster)["conditions"][0]["type"] == "Complete"
    (pod,) = cluster.pods()
    assert pod["status"]["phase"] == "Succeeded"
    assert (
        ask(
            cluster,
            ADMIN,
            lambda api: api.read_namespaced_pod_log(pod["metadata"]["name"], "default"),
            "CoreV1Api",
        ).strip()
        == pod["metadata"]["name"]
    )


def test_a_failing_command_fails_its_job_once(cluster: Cluster) -> None:
    create(cluster, job("raise SystemExit(3)"))
    assert finished(cluster)["failed"] == 1
    (pod,) = cluster.pods()
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (404, lambda api: api.read_namespaced_job("nobody", "default")),
        (404, lambda api: api.create_namespaced_job("elsewhere", job("pass"))),
        (409, lambda api: _twice(api)),
        (409, lambda api: _stale(api)),
        (422, lambda api: api.create_namespaced_job("default", {"spec": {"template": {}, "bakcoffLimit": 0}})),
        (422, lambda api: api.create_namespaced_job("default", job("pass", restartPolicy="Always"))),
    ],
)
def test_errors_have_their_codes(cluster: Cluster, code: int, what: Callable[[Any], Any]) -> None:
    with pytest.raises(ApiException) as raised:
        ask(cluster, ADMIN, what)
    assert raised.value.status == code


async def _twice(api: Any) -> None:
    for _ in range(2):
        await api.create_namespaced_job("default", job("pass", name="same"))


async def _stale(api: Any) -> None:
    made = await api.create_namespaced_job("default", job("pass", name="same"))
    await api.patch_namespaced_job("same", "default", {"metadata": {"labels": {"a": "b"}}})
    body = {"metadata": {"resourceVersion": made.metadata.resource_version, "labels": {"a": "c"}}}
    await api.patch_namespaced_job("same", "default", body)


def test_unknown_and_unauthorized_users_are_refused(cluster: Cluster) -> None:
    reader = User("reader", (Rule("default", "batch", "jobs", frozenset(["list"])),))
    assert ask(cluster, reader, lambda api: api.list_namespaced_job("default")).items == []
    with pytest.raises(ApiException) as raised:
        create(cluster, job("pass"), reader)
    assert raised.value.status == 403
    cluster.kubeconfig(reader)
    cluster.api.users.clear()
    config_file = cluster.folder / "reader.kubeconfig"

    async def stranger() -> None:
        async with await config.new_client_from_config(str(config_file)) as connection:
            await client.BatchV1Api(connection).list_namespaced_job("default")

    with pytest.raises(ApiException) as raised:
        asyncio.run(stranger())
    assert raised.value.status == 401


def test_a_pod_that_fits_nowhere_waits_with_the_reason(cluster: Cluster) -> None:
    for _ in range(2):
        create(cluster, job("import time; time.sleep(0.5)", **ON_GPU))
    condition = one_pod(cluster, "Pending")["status"]["conditions"][0]
    assert condition["reason"] == "Unschedulable"
    assert condition["message"] == "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    until(lambda: {pod["status"]["phase"] for pod in cluster.pods()} == {"Succeeded"})
    assert {pod["spec"]["nodeName"] for pod in cluster.pods()} == {"gpu-1"}


def test_a_taint_keeps_pods_away(cluster: Cluster) -> None:
    create(cluster, job("pass", nodeSelector={}, resources={"requests": {"cpu": "3"}}))
    create(cluster, job("pass", resources={"requests": {"cpu": "5"}}))
    until(lambda: one_pod(cluster, "Succeeded")["spec"]["nodeName"] == "cpu-1")
    message = one_pod(cluster, "Pending")["status"]["conditions"][0]["message"]
    assert message.startswith("0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint")


def test_an_evicted_pod_may_succeed(cluster: Cluster) -> None:
    create(cluster, job(PATIENT, podReplacementPolicy="Failed"))
    pod = one_pod(cluster, "Running")
    until(lambda: "up" in cluster.log(pod))
    cluster.evict(pod)
    assert finished(cluster)["succeeded"] == 1
    until(lambda: cluster.pods() == [])


def test_by_default_a_terminating_pod_counts_as_failed_before_it_ends(cluster: Cluster) -> None:
    create(cluster, job(PATIENT))
    pod = one_pod(cluster, "Running")
    until(lambda: "up" in cluster.log(pod))
    cluster.evict(pod)
    assert finished(cluster)["failed"] == 1


@pytest.mark.parametrize(("do", "reason"), [("oom_kill", "OOMKilled"), ("delete_by_force", "Error")])
def test_killed_pods_fail_with_all_their_processes(cluster: Cluster, do: str, reason: str) -> None:
    sleeping = "[sys.executable, '-c', 'import time; time.sleep(60)']"
    create(cluster, job(f"import subprocess, sys; subprocess.run({sleeping}, start_new_session=True)"))
    pod = one_pod(cluster, "Running")
    marked = f"HOSTNAME={pod['metadata']['name']}".encode()

    def processes() -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if marked in path.read_bytes():
                    found.append(path.parent.name)
            except OSError:
                continue
        return found

    until(lambda: len(processes()) == 2)
    getattr(cluster, do)(pod)
    assert finished(cluster)["failed"] == 1
    until(lambda: not processes())
    if do == "oom_kill":
        (pod,) = cluster.pods()
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"] | {"finishedAt": ""} == {
            "exitCode": 137, "reason": reason, "finishedAt": "",
        }  # fmt: skip


def test_finished_jobs_are_deleted_with_their_pods_after_their_ttl(cluster: Cluster) -> None:
    create(cluster, job("pass", ttlSecondsAfterFinished=1))
    finished(cluster)
    until(lambda: not cluster.jobs() and not cluster.pods())


def test_a_watch_returns_changes_since_a_version(cluster: Cluster) -> None:
    async def watch(api: Any) -> list[str]:
        version = (await api.list_namespaced_job("default")).metadata.resource_version
        made = await api.create_namespaced_job("default", job("pass"))
        await api.delete_namespaced_job(made.metadata.name, "default", propagation_policy="Background")
        seen = []
        async for event in Watch().stream(api.list_namespaced_job, "default", resource_version=version):
            seen.append(event["type"])
            if event["type"] == "DELETED":
                return seen
        return seen

    seen = ask(cluster, ADMIN, watch)
    assert seen[0] == "ADDED"
    assert seen[-1] == "DELETED"


def test_a_watch_from_an_old_version_gets_an_error(cluster: Cluster) -> None:
    async def watch(api: Any) -> None:
        await api.create_namespaced_job("default", job("import time; time.sleep(9)", name="same"))
        for number in range(1001):
            await api.patch_namespaced_job("same", "default", {"metadata": {"labels": {"n": f"{number}"}}})
        async for _ in Watch().stream(api.list_namespaced_job, "default", resource_version="1"):
            pass

    with pytest.raises(ApiException) as raised:
        ask(cluster, ADMIN, watch)
    assert raised.value.status == 410
