"""The real Kubernetes worker on the stand-in cluster: where runs execute, and how they end with their pods.

Server, deployments, workers with their observers, storage and flow runs are real; only the API server and its nodes are
not.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from stenopool.orchestration.deploy.pools import template
from stenopool.orchestration.names import pool_name
from stenopool.orchestration.workers.rights import WORKER_RIGHTS, find_missing_rights
from stenopool.pipeline.receipts import list_receipts
from stenopool.storage import open_store
from tests.support.kubernetes import Cluster, Image, Node, Taint
from tests.support.kubernetes.flows import hold
from tests.support.kubernetes.worker import AUTH_KEY, AUTH_SECRET, KubernetesWorker, service_account
from tests.support.postgres import PROGRAMS, Postgres
from tests.support.prefect_server import PrefectServer
from tests.support.processes import without_prefect
from tests.support.redis import Redis
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech, recording_path, recordings
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
CPU = {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "500Gi"}
NODES = (
    Node("cpu-1", CPU),
    Node("gpu-1", {**CPU, "nvidia.com/gpu": "1"}, {"accelerator": "nvidia"}, (Taint("nvidia.com/gpu", "present"),)),
)
WATCHED, UNWATCHED = "stenopool", "elsewhere"
WATCH = tuple(right for right in WORKER_RIGHTS if right.verb == "watch")


class Installation:
    """A server, a cluster, its workers, and a folder through which flow runs and tests communicate."""

    def __init__(self, server: PrefectServer, cluster: Cluster, client: SyncPrefectClient, folder: Path) -> None:
        self.server, self.cluster, self.client, self.folder = server, cluster, client, folder

    def deploy(self) -> None:
        """Run `stenopool deploy`. Two runs for the one GPU: the cluster makes the second wait."""
        command = [str(Path(sys.executable).with_name("stenopool")), "deploy", "--target=kubernetes", "--gpus=2"]
        subprocess.run(command, env={**without_prefect(), **self.server.environment}, check=True, capture_output=True)

    def deploy_hold(self, name: str, namespace: str) -> None:
        """A deployment of the flow that runs until it is released, on a pool with our template."""
        try:
            self.client.read_work_pool(name)
        except ObjectNotFound:
            pool = WorkPoolCreate(name=name, type="kubernetes", base_job_template=template("cpu", "kubernetes"))
            self.client.create_work_pool(pool)
        self.client.create_deployment(
            flow_id=self.client.create_flow_from_name(hold.name),
            name=name,
            entrypoint="tests.support.kubernetes.flows.hold",
            work_pool_name=name,
            job_variables={"namespace": namespace},
            pull_steps=[],
        )

    def start(self, pool: str) -> FlowRun:
        """Start a run of the flow on a pool."""
        return self.run(f"hold/{pool}", folder=str(self.folder))

    def run(self, deployment: str, **parameters: object) -> FlowRun:
        found = self.client.read_deployment_by_name(deployment)
        return self.client.create_flow_run_from_deployment(found.id, parameters=parameters)

    def started(self, run: FlowRun, times: int = 1) -> list[str]:
        """The pods in which the run has started, once there are ``times`` of them."""
        return until(lambda: at_least(times, [path.suffix[1:] for path in self.folder.glob(f"{run.id}.*-*")]))

    def let_go(self, run: FlowRun) -> None:
        (self.folder / f"{run.id}.go").touch()

    def pods(self, run: FlowRun) -> list[dict[str, Any]]:
        return self.cluster.pods(f"prefect.io/flow-run-id={run.id}")

    def nodes(self, flow: str) -> set[str]:
        """The pods in which runs of a flow have been."""
        pods = self.cluster.pods(f"prefect.io/flow-name={flow}")
        return {pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName")}

    def pod(self, run: FlowRun) -> dict[str, Any]:
        """The run's only pod that has not ended."""
        (alive,) = (pod for pod in self.pods(run) if pod["status"]["phase"] in ("Pending", "Running"))
        return alive

    def state(self, run: FlowRun) -> str:
        return str(self.client.read_flow_run(run.id).state_name)

    def ended(self, run: FlowRun) -> str:
        """The name of the run's final state."""

        def final() -> str | None:
            state = self.client.read_flow_run(run.id).state
            return state.name if state and state.is_final() else None

        return until(final)

    def states(self, run: FlowRun) -> list[str]:
        return [str(state.name) for state in self.client.read_flow_run_states(run.id)]

    def logs(self, run: FlowRun) -> str:
        wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(str(run.id))]))
        return "\n".join(one.message for one in self.client.read_logs(wanted))


def at_least(count: int, found: list[T]) -> list[T] | None:
    return found if len(found) >= count else None


until = partial(wait_until, seconds=120, every=0.2)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, seaweedfs: SeaweedFS) -> Iterator[Installation]:
    """A separate server, because pools have other types here than in other tests."""
    if not PROGRAMS:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("kubernetes")
    workdir = folder / "workdir"
    workdir.mkdir()
    image = Image(workdir, {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)})
    with ExitStack() as stack:
        postgres, redis = Postgres(), Redis(folder)
        stack.callback(postgres.remove)
        postgres.start()
        stack.callback(redis.stop)
        redis.start()
        server = PrefectServer(folder, postgres, redis)
        stack.callback(server.stop)
        server.start()
        cluster = stack.enter_context(Cluster(folder, NODES, image, namespaces=(WATCHED, UNWATCHED)))
        cluster.make_secret(AUTH_SECRET, {AUTH_KEY: server.auth})
        cluster.make_secret("stenopool-storage", seaweedfs.environment)
        client = stack.enter_context(server.client())
        installation = Installation(server, cluster, client, folder)
        # One worker that can watch is enough for all runs of a namespace, so the blind worker has a separate one.
        sees, blind = service_account(WATCHED), service_account(UNWATCHED, without=WATCH)
        workers = [
            KubernetesWorker(server, cluster, pool_name("cpu"), WATCHED, sees),
            KubernetesWorker(server, cluster, pool_name("gpu"), WATCHED, sees),
            KubernetesWorker(server, cluster, "blind", UNWATCHED, blind),
        ]
        installation.deploy()
        for worker in workers:
            installation.deploy_hold(worker.pool, worker.namespace)
            stack.callback(worker.stop)
            worker.start()
        yield installation


def test_gpu_work_goes_to_gpu_nodes_and_waits_for_them(installation: Installation) -> None:
    first = installation.start(pool_name("gpu"))
    installation.started(first)
    second, beside = installation.start(pool_name("gpu")), installation.start(pool_name("cpu"))
    installation.started(beside)
    waiting = until(lambda: installation.pods(second) and installation.pod(second))
    assert (waiting["status"]["phase"], waiting["spec"].get("nodeName")) == ("Pending", None)
    condition = waiting["status"]["conditions"][0]
    assert condition["reason"] == "Unschedulable"
    assert "1 Insufficient nvidia.com/gpu" in condition["message"]
    assert installation.state(second) == "InfrastructurePending"
    until(lambda: "Pod is unschedulable" in installation.logs(second))  # Prefect shows people why it waits
    installation.let_go(first)
    installation.started(second)
    for run in (second, beside):
        installation.let_go(run)
    assert [installation.ended(run) for run in (first, second, beside)] == ["Completed"] * 3
    nodes = {run.id: [pod["spec"]["nodeName"] for pod in installation.pods(run)] for run in (first, second, beside)}
    assert nodes == {first.id: ["gpu-1"], second.id: ["gpu-1"], beside.id: ["cpu-1"]}
    # The pods knew the server's password; their jobs only refer to it.
    written = json.dumps([installation.cluster.jobs(), installation.cluster.pods()])
    assert installation.server.auth not in written
    assert AUTH_SECRET in written


@pytest.mark.fault("pod evicted", "The run is rescheduled and completes.")
def test_an_evicted_run_is_rescheduled(installation: Installation) -> None:
    run = installation.start(pool_name("cpu"))
    installation.started(run)
    installation.cluster.evict(installation.pod(run))
    pods = installation.started(run, times=2)
    installation.let_go(run)
    assert installation.ended(run) == "Completed"
    assert len(set(pods)) == 2
    assert "AwaitingRetry" in installation.states(run)
    assert "Crashed" not in installation.states(run)


@pytest.mark.fault("pod lost with its node", "The run is marked Crashed at once, and its work is planned again.")
def test_a_lost_run_crashes_unless_the_worker_cannot_watch(installation: Installation) -> None:
    seen, unseen = installation.start(pool_name("cpu")), installation.start("blind")
    for run in (unseen, seen):
        installation.started(run)
        installation.cluster.delete_by_force(installation.pod(run))
    assert installation.ended(seen) == "Crashed"
    # Nothing has noticed, and only its rights distinguish this worker from one that would notice.
    assert installation.state(unseen) == "Running"
    assert installation.pods(unseen) == []


def test_a_worker_that_lacks_the_right_to_watch_is_detected(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(installation.cluster.kubeconfig(service_account(UNWATCHED, without=WATCH))))
    assert find_missing_rights(UNWATCHED) == list(WATCH)
    monkeypatch.setenv("KUBECONFIG", str(installation.cluster.kubeconfig(service_account(WATCHED))))
    assert find_missing_rights(WATCHED) == []


@pytest.mark.fault("pod out of memory", "The run is marked Crashed; the next ingest does the rest, and nothing else.")
@needs_speech
def test_the_next_ingest_finishes_the_work_of_a_pod_out_of_memory(installation: Installation, bucket: str) -> None:
    source, destination = open_store(f"s3://{bucket}/calls"), f"s3://{bucket}/transcripts"
    for item in recordings("en_short")[:4]:
        source.put_file(item["file"], recording_path(item["file"]))
    order = {"source": source.uri, "destination": destination, "options": {"model": "tiny.en", "diarization": "off"}}

    first = installation.run("ingest/interactive", **order)
    pod = until(lambda: installation.cluster.pods("prefect.io/flow-name=transcribe"))[0]
    # Its flow runs, and has to load a model before it can lose anything. Before that, Prefect waits half a minute for
    # another pod.
    until(lambda: "Beginning" in installation.cluster.log(pod))
    installation.cluster.oom_kill(pod)
    assert installation.ended(first) == "Completed"
    lost = installation.client.read_flow_run(UUID(pod["metadata"]["labels"]["prefect.io/flow-run-id"]))
    assert lost.state_name == "Crashed"
    until(lambda: "OOMKilled" in installation.logs(lost))
    assert list(list_receipts(open_store(destination))) == []

    second = installation.run("ingest/interactive", **order)
    assert installation.ended(second) == "Completed"
    store = open_store(destination)
    assert [name.status for name in list_receipts(store)] == ["done"] * 4
    transcripts = [info.key for info in store.list() if info.key.endswith("/transcript.json")]
    assert len(transcripts) == 4
    assert all(json.loads(store.get_bytes(key))["text"].strip() for key in transcripts)
    assert {flow: installation.nodes(flow) for flow in ("ingest", "prepare", "transcribe")} == {
        "ingest": {"cpu-1"},
        "prepare": {"cpu-1"},
        "transcribe": {"gpu-1"},
    }


def test_a_cancelled_run_leaves_no_pod(installation: Installation) -> None:
    run = installation.start(pool_name("cpu"))
    installation.started(run)
    installation.client.set_flow_run_state(run.id, Cancelling())
    assert installation.ended(run) == "Cancelled"
    until(lambda: {pod["status"]["phase"] for pod in installation.pods(run)} <= {"Succeeded", "Failed"})
