"""What a parent does when the server cannot start its child at once."""

import asyncio
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.exceptions import PrefectHTTPStatusError

from stenopool.orchestration import dispatch
from stenopool.settings import DispatchSettings


def refusal(status: int) -> PrefectHTTPStatusError:
    request = httpx.Request("POST", "http://127.0.0.1/api")
    return PrefectHTTPStatusError("x", request=request, response=httpx.Response(status, request=request))


class Client:
    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def asked(monkeypatch: pytest.MonkeyPatch, answers: list[Exception | None]) -> list[str]:
    """The idempotency keys of the requests that it takes until a child is there."""
    keys: list[str] = []

    async def run(*_: Any, idempotency_key: str, **__: Any) -> Any:
        keys.append(idempotency_key)
        answer = answers[len(keys) - 1]
        if answer:
            raise answer
        state = SimpleNamespace(is_final=lambda: True, is_completed=lambda: True)
        return SimpleNamespace(state=state)

    monkeypatch.setattr(dispatch, "arun_deployment", run)
    monkeypatch.setattr(dispatch, "get_client", Client)
    by_deployment = dispatch.ByDeployment(DispatchSettings(by="deployment", poll=0.01))
    asyncio.run(by_deployment._run("prepare/cpu", batch="b", shard=1))
    return keys


def test_a_server_whose_database_is_restarted_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = asked(monkeypatch, [refusal(500), httpx.ConnectError("x"), refusal(503), None])
    assert len(keys) == 4
    assert len(set(keys)) == 1


def test_a_request_that_is_wrong_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PrefectHTTPStatusError):
        asked(monkeypatch, [refusal(422), None])
