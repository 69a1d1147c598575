"""The API's metrics and health, as Prometheus and probes see them."""

import re
import time

import httpx
import pytest

from stenopool.settings import ApiSettings
from tests.api.conftest import Shared
from tests.support.api_server import Api, serving, sound
from tests.support.prometheus import lint, needs_prometheus
from tests.support.seaweedfs import SeaweedFS

NEEDED = ("source", "destination", "prefect")


def page(api: Api) -> str:
    """The response that Prometheus gets, without a key."""
    answer = httpx.get(f"{api.url}/metrics", timeout=30)
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return answer.raise_for_status().text


def value(page: str, series: str) -> float:
    """The value of one series; 0 if it is missing."""
    found = re.search(rf"^{re.escape(series)} (\S+)$", page, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def test_requests_are_counted_by_route(api: Api) -> None:
    before = page(api)
    with api.client() as client:
        sent = client.post("/v1/recordings", files={"file": ("a.wav", sound(2.0))}).raise_for_status().json()
        for _ in range(3):
            client.get(f"/v1/recordings/{sent['id']}").raise_for_status()
        for path in ("/secret/1", "/secret/2", "/v1/recordings/nonsense"):
            client.get(path)
    after = page(api)

    def more(series: str) -> float:
        return value(after, series) - value(before, series)

    one = '{method="GET",route="/v1/recordings/{id}",status="200"}'
    assert more(f"stenopool_api_requests_total{one}") == 3
    assert more('stenopool_api_requests_total{method="GET",route="other",status="404"}') == 2
    assert more('stenopool_api_requests_total{method="POST",route="/v1/recordings",status="202"}') == 1
    assert more('stenopool_api_request_seconds_count{method="GET",route="/v1/recordings/{id}"}') == 4
    assert more("stenopool_api_upload_bytes_total") == pytest.approx(64_044, abs=500)
    assert value(after, "stenopool_api_requests_in_progress") == 1  # the scrape itself
    assert sent["id"] not in after
    assert "secret" not in after


def test_refused_requests_are_counted(shared: Shared) -> None:
    before = page(shared.api)
    with shared.api.client(None) as client:
        assert client.get("/v1/queue").status_code == 401
    series = 'stenopool_api_requests_total{method="GET",route="/v1/queue",status="401"}'
    assert value(page(shared.api), series) - value(before, series) == 1


@needs_prometheus
def test_promtool_accepts_the_metrics(shared: Shared) -> None:
    with shared.api.client() as client:
        client.get("/v1/recordings").raise_for_status()
    assert lint(page(shared.api)) == ""


def test_a_missing_destination_makes_it_unready_and_is_reported(
    deployed: None, settings: ApiSettings, seaweedfs: SeaweedFS, bucket: str
) -> None:
    here = settings.model_copy(update={"destination": f"s3://{bucket}"})
    with serving(here) as api, httpx.Client(base_url=api.url, timeout=30) as client:
        assert client.get("/health/ready").json()["dependencies"] == dict.fromkeys(NEEDED, "ok")
        assert [value(page(api), up(name)) for name in NEEDED] == [1, 1, 1]
        seaweedfs.client().delete_bucket(Bucket=bucket)
        time.sleep(2.1)  # the result is cached this long
        answer = client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["dependencies"] == {"source": "ok", "destination": "failed", "prefect": "ok"}
        assert [value(page(api), up(name)) for name in NEEDED] == [1, 0, 1]
        assert client.get("/health/live").json() == {"status": "ok", "dependencies": {}}


def up(dependency: str) -> str:
    return f'stenopool_dependency_up{{dependency="{dependency}"}}'
