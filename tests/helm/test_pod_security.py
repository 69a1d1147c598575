"""A restricted namespace accepts every Stenopool pod: those of the chart and of runs."""

from typing import Any

import pytest

from stenopool.orchestration.names import PoolKind
from tests.helm.conftest import SMALLEST
from tests.orchestration.deploy.test_pools import POOLS, pod_of
from tests.orchestration.deploy.test_pools import rendered as job
from tests.support.helm.chart import Chart, Manifest, pods
from tests.support.helm.pod_security import violations


def test_chart_pods_are_accepted(rendered: list[Manifest]) -> None:
    assert {"stenopool-api", "prefect-server", "prefect-services", "prefect-worker-gpu"} < pods(rendered).keys()
    for pod in pods(rendered).values():
        assert violations(pod["spec"]) == []
        assert pod["spec"]["securityContext"]["runAsUser"] == 10001
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"]["memory"]
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("pool", POOLS)
def test_run_pods_are_accepted(pool: PoolKind) -> None:
    assert violations(pod_of(job(pool))) == []


PLANTED: dict[str, tuple[str, str, str]] = {
    "root": ("runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"),
    "user 0": ("runAsUser: {{ . }}", "runAsUser: 0", "root"),
    "no seccomp": ("seccompProfile: { type: RuntimeDefault }", "seccompProfile: { type: Unconfined }", "seccomp"),
    "privilege escalation": ("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "Escalation"),
    "capabilities": ("capabilities: { drop: [ALL] }", "capabilities: { drop: [NET_RAW] }", "not dropped"),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_found(spoilt: Chart, mistake: str) -> None:
    old, new, word = PLANTED[mistake]
    spoilt.replace("templates/_helpers.tpl", old, new)
    for pod in pods(spoilt.render(SMALLEST)).values():
        assert any(word in found for found in violations(pod["spec"]))


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("hostNetwork", True, "hostNetwork"),
        ("volumes", [{"name": "node", "hostPath": {"path": "/"}}], "hostPath"),
        ("initContainers", [{"name": "first"}], "first: capabilities"),
    ],
)
def test_other_violations_are_refused(rendered: list[Manifest], field: str, value: Any, word: str) -> None:
    spec = pods(rendered)["stenopool-api"]["spec"] | {field: value}
    assert any(word in found for found in violations(spec))
