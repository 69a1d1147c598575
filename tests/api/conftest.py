"""The API on a port, with a real Prefect server that has the pools and the deployment, but no worker."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from stenopool.settings import ApiSettings
from tests.support.api_server import Api, keys_file, serving
from tests.support.seaweedfs import SeaweedFS

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@pytest.fixture(scope="package")
def deployed(prefect_api: None) -> Iterator[None]:
    """Pools, queues and the deployments of `ingest`. Removed afterwards, because other tests check their creation."""
    from prefect.client.orchestration import get_client
    from prefect.utilities.callables import parameter_schema

    from stenopool.orchestration import entrypoints

    ingest = entrypoints.load("ingest")
    from stenopool.orchestration.deploy.pools import apply_pools
    from stenopool.orchestration.names import TAG

    async def make() -> None:
        async with get_client() as client:
            await apply_pools(client, "local", None, None)
            flow = await client.create_flow_from_name("ingest")
            for name in ("interactive", "batch"):
                await client.create_deployment(
                    flow_id=flow,
                    name=name,
                    work_pool_name="stenopool-cpu",
                    work_queue_name=f"ingest-{name}",
                    tags=[TAG],
                    parameter_openapi_schema=parameter_schema(ingest).model_dump_for_openapi(),
                    enforce_parameter_schema=True,
                )

    async def remove() -> None:
        async with get_client() as client:
            for name in ("interactive", "batch"):
                await client.delete_deployment((await client.read_deployment_by_name(f"ingest/{name}")).id)
            for pool in ("cpu", "gpu"):
                await client.delete_work_pool(f"stenopool-{pool}")

    asyncio.run(make())
    yield
    asyncio.run(remove())


class Shared(NamedTuple):
    """One API on S3 for requests that are refused: each leaves it unchanged."""

    api: Api
    unfinished_uploads: Callable[[], list[Any]]


@pytest.fixture(scope="package")
def shared(deployed: None, seaweedfs: SeaweedFS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Started once, because refused requests do not change it."""
    from stenopool.storage.s3 import process_client

    with pytest.MonkeyPatch.context() as patch:
        for name, value in seaweedfs.environment.items():
            patch.setenv(name, value)
        process_client.cache_clear()
        bucket = seaweedfs.make_bucket()
        settings = ApiSettings(
            source=f"s3://{bucket}/in",
            destination=f"s3://{bucket}/out",
            keys=keys_file(tmp_path_factory.mktemp("keys")),
            max_bytes=40 * 1024 * 1024,
        )
        with serving(settings) as served:
            yield Shared(served, lambda: seaweedfs.client().list_multipart_uploads(Bucket=bucket).get("Uploads", []))
        process_client.cache_clear()


@pytest.fixture
def settings(tmp_path: Path) -> ApiSettings:
    """Local folders, keys, and limits that tests can reach."""
    for name in ("source", "destination"):
        (tmp_path / name).mkdir()
    return ApiSettings(
        source=str(tmp_path / "source"),
        destination=str(tmp_path / "destination"),
        keys=keys_file(tmp_path),
        max_bytes=40 * 1024 * 1024,
        wait=2,
    )


@pytest.fixture
def api(deployed: None, settings: ApiSettings) -> Iterator[Api]:
    """The API on local folders, with an empty queue."""
    with serving(settings) as served:
        _emptied(served)
        yield served


@pytest.fixture
def api_on_s3(deployed: None, settings: ApiSettings, bucket: str) -> Iterator[Api]:
    """The API on S3, with an empty queue."""
    where = {"source": f"s3://{bucket}/in", "destination": f"s3://{bucket}/out"}
    with serving(settings.model_copy(update=where)) as served:
        _emptied(served)
        yield served


@pytest.fixture(params=["folder", "s3"])
def either(request: pytest.FixtureRequest) -> Api:
    """The API on each kind of store."""
    served: Api = request.getfixturevalue("api" if request.param == "folder" else "api_on_s3")
    return served


@pytest.fixture
def prefect(deployed: None) -> "Iterator[SyncPrefectClient]":
    """Prefect's client: to check the API's effects, and to act as the missing worker."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


def _emptied(api: Api) -> None:
    """End the runs that earlier tests left. Runs that are marked Running have no worker that would."""
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    with api.client() as client, get_client(sync_client=True) as prefect:
        left = client.get("/v1/queue").raise_for_status().json()["entries"]
        for entry in left:
            prefect.set_flow_run_state(entry["id"], Cancelled(), force=True)
    if left:
        time.sleep(1.1)  # the API caches them this long
