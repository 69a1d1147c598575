"""Helm's commands on a chart, and its parsed output."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from tests.support.helm.tools import fetch

REPOSITORY = Path(__file__).parents[3]
VALUES = REPOSITORY / "workers" / "helm"
NAMESPACE = "stenopool"
Manifest = dict[str, Any]


class Refused(Exception):
    """Helm's error message."""


@dataclass
class Chart:
    """A folder with a chart."""

    folder: Path

    def lint(self, values: dict[str, Any]) -> None:
        """`helm lint --strict`; raises Refused with its errors."""
        self._helm(["lint", "--strict", str(self.folder)], values)

    def render(self, values: dict[str, Any], release: str = "stenopool") -> list[Manifest]:
        """The output of `helm template`, parsed; raises Refused if it fails."""
        command = ["template", release, str(self.folder), f"--namespace={NAMESPACE}", "--kube-version=1.35"]
        return [each for each in yaml.safe_load_all(self._helm(command, values)) if each]

    def replace(self, file: str, old: str, new: str) -> None:
        """Plant a mistake; raises ValueError if the text to replace is missing."""
        path = self.folder / file
        text = path.read_text()
        if old not in text:
            raise ValueError(f"{old!r} is not in {file}")
        path.write_text(text.replace(old, new))

    def _helm(self, command: list[str], values: dict[str, Any]) -> str:
        result = subprocess.run(
            [str(fetch() / "helm"), *command, "--values=-"],
            input=yaml.safe_dump(values),
            # The user's plugins and repositories must not affect the result.
            env={"PATH": os.environ["PATH"], "HOME": "/nowhere"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if result.returncode:
            raise Refused(result.stdout + result.stderr)
        return result.stdout


def complaints(manifest: Manifest) -> list[str]:
    """Errors of a strict API server, including unknown fields."""
    try:
        if manifest["kind"] in CUSTOM:
            _custom(manifest)
        else:
            kubernetes_validate.validate(manifest, "1.37", strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError, ValueError) as error:
        return [f"{manifest['kind']} {manifest['metadata']['name']}: {error}"]
    return []


# Kinds that exist only with an operator. No package has the schemas of vertical autoscalers and gateways.
CUSTOM = {"HTTPRoute", "PodMonitor", "PrometheusRule", "ScaledObject", "VerticalPodAutoscaler"}


def _custom(manifest: Manifest) -> None:
    from cloudcoil.models.keda.v1alpha1 import ScaledObject
    from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule

    models = {model.__name__: model for model in (PodMonitor, PrometheusRule, ScaledObject)}
    if model := models.get(manifest["kind"]):
        model.model_validate(manifest, extra="forbid")


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod templates, by the name of their owner."""
    return {
        each["metadata"]["name"]: each["spec"]["template"]
        for each in manifests
        if "template" in each.get("spec", {}) and "containers" in each["spec"]["template"].get("spec", {})
    }
