"""The real Prefect worker of a Kubernetes pool, on the stand-in."""

import secrets
import sys
from datetime import UTC, datetime

from prefect.exceptions import ObjectNotFound

from stenopool.orchestration.workers.rights import WORKER_RIGHTS, Right
from tests.support.kubernetes.cluster import Cluster
from tests.support.kubernetes.rbac import Rule, User
from tests.support.prefect_server import PrefectServer
from tests.support.processes import Server, without_prefect

# The secret with the server's password, mounted in the worker and its pods.
AUTH_SECRET, AUTH_KEY = "stenopool-prefect", "auth-string"


def service_account(namespace: str, without: tuple[Right, ...] = ()) -> User:
    """A service account with the rights in a namespace that workers/README.md lists, without some of them."""
    rights = (right for right in WORKER_RIGHTS if right not in without)
    rules = (Rule(namespace, one.group, one.resource, frozenset([one.verb])) for one in rights)
    return User(f"worker-of-{namespace}", tuple(rules))


class KubernetesWorker(Server):
    """``prefect worker start --type kubernetes`` for one pool, which must exist."""

    def __init__(self, server: PrefectServer, cluster: Cluster, pool: str, namespace: str, user: User) -> None:
        self.server, self.cluster, self.pool, self.namespace, self.user = server, cluster, pool, namespace, user
        self._id = secrets.token_hex(8)
        super().__init__(f"the worker of {pool}", server.folder / f"worker-{pool}-{self._id}.log")

    @property
    def environment(self) -> dict[str, str]:
        """The requirements of workers/README.md, and shorter timeouts."""
        return {
            **without_prefect(),
            **self.server.environment,
            "KUBECONFIG": str(self.cluster.kubeconfig(self.user)),
            "PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES": self.namespace,
            "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME": AUTH_SECRET,
            "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_KEY": AUTH_KEY,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONUNBUFFERED": "1",  # its log must exist when it is read
        }

    def start(self) -> None:
        """Start it and wait until the server has received its first heartbeat."""
        since = datetime.now(UTC)
        command = ["prefect", "worker", "start", "--type=kubernetes", f"--pool={self.pool}", f"--name={self._id}"]
        with self.server.client() as client:

            def reported() -> bool:
                try:
                    workers = client.read_workers_for_work_pool(self.pool)
                except ObjectNotFound:
                    return False
                return any(
                    one.name == self._id and one.last_heartbeat_time and one.last_heartbeat_time > since
                    for one in workers
                )

            self.spawn([sys.executable, "-m", *command], reported, environment=self.environment)
