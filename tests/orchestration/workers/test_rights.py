"""A worker's permissions, queried from the API server; the stand-in responds like a real one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, SetupError
from stenopool.orchestration.workers.rights import WORKER_RIGHTS, Right, find_missing_rights
from tests.support.kubernetes import Cluster, Image, Rule, User

NAMESPACE = "stenopool"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path, [], Image(tmp_path, {}), namespaces=[NAMESPACE]) as cluster:
        yield cluster


def ask(cluster: Cluster, rights: list[Right], monkeypatch: pytest.MonkeyPatch, where: str = NAMESPACE) -> list[Right]:
    rules = (Rule(where, right.group, right.resource, frozenset([right.verb])) for right in rights)
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(User("worker", tuple(rules)))))
    return find_missing_rights(NAMESPACE)


def test_with_all_permissions_none_is_missing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(cluster, list(WORKER_RIGHTS), monkeypatch) == []


@pytest.mark.parametrize("missing", WORKER_RIGHTS, ids=str)
def test_each_missing_permission_is_found(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, missing: Right) -> None:
    assert ask(cluster, [one for one in WORKER_RIGHTS if one != missing], monkeypatch) == [missing]


def test_permissions_in_other_namespaces_do_not_count(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(cluster, list(WORKER_RIGHTS), monkeypatch, where="default") == list(WORKER_RIGHTS)


ADMINISTRATOR = User(
    "administrator", (Rule(None, "authorization.k8s.io", "subjectaccessreviews", frozenset(["create"])),)
)


def worker(cluster: Cluster, name: str, rights: list[Right]) -> None:
    rules = tuple(Rule(NAMESPACE, right.group, right.resource, frozenset([right.verb])) for right in rights)
    cluster.kubeconfig(User(f"system:serviceaccount:{name}", rules))


@pytest.mark.parametrize("missing", [None, *WORKER_RIGHTS], ids=str)
def test_an_administrator_can_check_the_worker(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, missing: Right | None
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(ADMINISTRATOR)))
    worker(cluster, "services:worker", [one for one in WORKER_RIGHTS if one != missing])
    assert find_missing_rights(NAMESPACE, "services:worker") == ([missing] if missing else [])
    # The answer is not about the administrator or another account.
    assert find_missing_rights(NAMESPACE) == list(WORKER_RIGHTS)
    assert find_missing_rights(NAMESPACE, "services:nobody") == list(WORKER_RIGHTS)


def test_checking_another_account_needs_a_permission(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    worker(cluster, "services:worker", list(WORKER_RIGHTS))
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(User("guest"))))
    with pytest.raises(SetupError, match=r"\(403\)") as raised:
        find_missing_rights(NAMESPACE, "services:worker")
    assert "subjectaccessreviews" in raised.value.remedy


def test_an_unknown_user_is_refused_with_a_remedy(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cluster.kubeconfig(User("stranger"))
    cluster.api.users.clear()
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(SetupError) as raised:
        find_missing_rights(NAMESPACE)
    assert raised.value.code is ErrorCode.ACCESS_DENIED
    assert "KUBECONFIG" in raised.value.remedy


def test_doctor_names_a_workers_missing_permissions(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from stenopool.cli.doctor import examine, list_checks
    from stenopool.options import ExecutionOptions, TranscriptionOptions

    def finding() -> tuple[str, str]:
        *_, last = list_checks(TranscriptionOptions(), ExecutionOptions(), None, None, NAMESPACE)
        found = examine(last)
        return found.status, found.found

    ask(cluster, list(WORKER_RIGHTS), monkeypatch)
    assert finding()[0] == "ok"
    ask(cluster, [one for one in WORKER_RIGHTS if str(one) != "watch pods"], monkeypatch)
    status, found = finding()
    assert status == "fail"
    assert "watch pods" in found


@pytest.mark.parametrize(
    ("pod", "account", "name"),
    [
        (False, None, "stenopool:prefect-worker-gpu"),
        (True, None, "the pod's service account"),
        (True, "services:worker", "services:worker"),
        (False, "", "the account of the kubeconfig"),
    ],
)
def test_the_doctor_names_the_account_that_it_checked(
    monkeypatch: pytest.MonkeyPatch, pod: bool, account: str | None, name: str
) -> None:
    from stenopool.cli.doctor import examine, list_checks
    from stenopool.options import ExecutionOptions, TranscriptionOptions
    from stenopool.orchestration.workers import rights

    asked = []

    def find(namespace: str, account: str | None) -> list[Right]:
        asked.append(account)
        return []

    monkeypatch.setattr(rights, "find_missing_rights", find)
    if pod:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    *_, last = list_checks(TranscriptionOptions(), ExecutionOptions(), None, None, NAMESPACE, account)
    assert examine(last).found.startswith(f"{name} has all permissions")
    assert asked == [name if ":" in name else None]
