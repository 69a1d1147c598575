"""Real Prefect process workers for tests."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stenopool.runtime.processes import MARK, end_all, python_command
from tests.support.prefect_server import PrefectServer
from tests.support.processes import Server, without_prefect

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


class ProcessWorker(Server):
    """``prefect worker start --type process`` for one pool, which is created if necessary.

    ``environment``: variables of its flow runs, in addition to the server's address and this process's own environment.
    """

    def __init__(self, server: PrefectServer, pool: str, environment: Mapping[str, str] | None = None) -> None:
        self.server = server
        self.pool = pool
        self._id = secrets.token_hex(8)
        self._environment = environment or {}
        super().__init__(f"the worker of {pool}", server.folder / f"worker-{pool}-{self._id}.log")

    def start(self) -> None:
        """Start it and wait until the server has received its first heartbeat."""
        since = datetime.now(UTC)
        command = ["worker", "start", "--type=process", f"--pool={self.pool}", f"--name={self._id}"]
        environment = {
            **without_prefect(),
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            **self.server.environment,
            **self._environment,
            MARK: self._id,
        }
        with self.server.client() as client:
            self.spawn(
                python_command("prefect", *command),
                lambda: self._reported(client, since),
                environment=environment,
            )

    def stop(self, seconds: float = 30) -> None:
        """Stop its flow runs, with this time limit, and then the worker."""
        end_all(self._id, seconds)
        super().stop()

    def _reported(self, client: "SyncPrefectClient", since: datetime) -> bool:
        from prefect.exceptions import ObjectNotFound

        try:
            workers = client.read_workers_for_work_pool(self.pool)
        except ObjectNotFound:
            return False
        return any(one.name == self._id and one.last_heartbeat_time > since for one in workers)
