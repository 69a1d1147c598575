"""Which jobs the admission policy lets through: those that workers make, and none that a taken-over run would want."""

import copy
import json
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from stenopool.orchestration.deploy.pools import PoolChanges, template
from stenopool.orchestration.names import PoolKind
from tests.helm.test_chart import by_kind
from tests.orchestration.deploy.test_pools import rendered as job
from tests.support.helm.chart import Chart, Manifest
from tests.support.terraform.tools import uvx

# Evaluates the expressions as the API server does; only what the policy uses was compared.
CEL = uvx("--with", "common-expression-language==0.10.0", "python", "-c")
PROGRAM = """
import json, sys, cel
asked = json.load(sys.stdin)
print(json.dumps([[rule["message"] for rule in asked["rules"] if not cel.evaluate(rule["expression"], context)]
                  for context in asked["contexts"]]))
"""

pytestmark = pytest.mark.skipif(not shutil.which(CEL[0]), reason="uv, which brings the evaluator, is not installed")


def refusals(policy: Manifest, jobs: list[tuple[PoolKind, dict[str, Any]]]) -> list[list[str]]:
    """The messages for each job, as the worker of that pool creates it."""
    users = [f"system:serviceaccount:stenopool:prefect-worker-{pool}" for pool, _ in jobs]
    contexts = [
        {"object": each, "request": {"userInfo": {"username": user}}}
        for user, (_, each) in zip(users, jobs, strict=True)
    ]
    (condition,) = policy["spec"]["matchConditions"]
    asked = {"rules": policy["spec"]["validations"], "contexts": contexts}
    everybody = {"rules": [{"message": "not checked", **condition}], "contexts": contexts}
    found = []
    for each in (everybody, asked):
        result = subprocess.run(
            [*CEL, PROGRAM], input=json.dumps(each), capture_output=True, text=True, timeout=300, check=False
        )
        assert result.returncode == 0, result.stderr
        found.append(json.loads(result.stdout))
    assert found[0] == [[]] * len(jobs)
    return list(found[1])


def made(manifests: list[Manifest], pool: PoolKind) -> dict[str, Any]:
    """The job of a run, with the changes that the chart passes to `stenopool deploy`."""
    pools = yaml.safe_load(by_kind(manifests, "ConfigMap")["stenopool-deploy"]["data"]["pools.yaml"])
    base = template(pool, "kubernetes", PoolChanges.model_validate(pools[pool]))
    manifest = job(pool, base=base)
    password = {
        "name": "PREFECT_API_AUTH_STRING",
        "valueFrom": {"secretKeyRef": {"name": "prefect-auth", "key": "auth-string"}},
    }
    manifest["spec"]["template"]["spec"]["containers"][0]["env"].append(password)  # as the worker does
    return manifest


def volume(**kind: Any) -> Callable[[dict[str, Any]], None]:
    return lambda pod: pod["volumes"].append({"name": "loot", **kind})


TAKEN: dict[str, tuple[PoolKind, Callable[[dict[str, Any]], Any]]] = {
    "another pool's account": ("gpu", lambda pod: pod.update(serviceAccountName="stenopool-cpu")),
    "the API's account": ("cpu", lambda pod: pod.update(serviceAccountName="stenopool-api")),
    "a token": ("cpu", lambda pod: pod.update(automountServiceAccountToken=True)),
    "another image": ("cpu", lambda pod: pod["containers"][0].update(image="ghcr.io/stenopool/stenopool-evil:1")),
    "one more container": ("cpu", lambda pod: pod["containers"].append({"name": "x", "image": "alpine:3"})),
    "an init container": ("cpu", lambda pod: pod.update(initContainers=[{"name": "x", "image": "alpine:3"}])),
    "a secret as a volume": ("gpu", volume(secret={"secretName": "stenopool-storage"})),
    "a projected secret": ("gpu", volume(projected={"sources": [{"secret": {"name": "x"}}]})),
    "the node's disk": ("gpu", volume(hostPath={"path": "/"})),
    "another secret": ("cpu", lambda pod: pod["containers"][0]["envFrom"].append({"secretRef": {"name": "keys"}})),
    "a key of another secret": ("cpu", lambda pod: pod["containers"][0]["env"].append(
        {"name": "X", "valueFrom": {"secretKeyRef": {"name": "prefect-server", "key": "connection-string"}}})),
}  # fmt: skip


def test_runs_pass_and_what_a_taken_over_run_wants_does_not(chart: Chart, rendered: list[Manifest]) -> None:
    (policy,) = by_kind(rendered, "ValidatingAdmissionPolicy").values()
    (binding,) = by_kind(rendered, "ValidatingAdmissionPolicyBinding").values()
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"]["validationActions"] == ["Deny"]
    assert binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "stenopool-runs"
    }
    good: dict[PoolKind, dict[str, Any]] = {pool: made(rendered, pool) for pool in ("cpu", "gpu")}
    jobs: list[tuple[PoolKind, dict[str, Any]]] = list(good.items())
    for pool, change in TAKEN.values():
        bad = copy.deepcopy(good[pool])
        change(bad["spec"]["template"]["spec"])
        jobs.append((pool, bad))
    found = refusals(policy, jobs)
    assert found[:2] == [[], []]
    assert [name for name, refused in zip(TAKEN, found[2:], strict=True) if len(refused) != 1] == []
