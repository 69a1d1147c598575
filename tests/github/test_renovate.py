"""Renovate's configuration: its patterns find every pinned version, and a database's major version stays."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = re.findall(r"astral-sh/uv:([\d.]+)@", (ROOT / "workers/Dockerfile").read_text())[0]
CONFIGURATION = json.loads((ROOT / ".github/renovate.json").read_text())


def found(path: str, text: str) -> Iterator[dict[str, str]]:
    """What the custom managers find in a file."""
    for manager in CONFIGURATION["customManagers"]:
        if any(re.search(pattern.strip("/"), path) for pattern in manager["managerFilePatterns"]):
            for pattern in manager["matchStrings"]:
                for match in re.finditer(pattern.replace("(?<", "(?P<"), text):
                    yield match.groupdict()


def read(path: str) -> list[dict[str, str]]:
    return list(found(path, (ROOT / path).read_text()))


def test_base_images_are_found() -> None:
    assert {one["depName"] for one in read("workers/Dockerfile")} == {
        "docker.io/library/debian",
        "ghcr.io/astral-sh/uv",
    }


@pytest.mark.parametrize("workflow", sorted((ROOT / ".github/workflows").glob("*.yaml")), ids=lambda path: path.stem)
def test_versions_of_programs_in_workflows_are_found(workflow: Path) -> None:
    text = workflow.read_text()
    assert unmarked(text) == []
    uses = "astral-sh/setup-uv@" in text
    assert {one["currentValue"] for one in read(f".github/workflows/{workflow.name}") if one["depName"] == "uv"} == (
        {UV} if uses else set()
    )


def unmarked(text: str) -> list[str]:
    """Lines with a version, without the comment above that names its source for Renovate."""
    lines = text.splitlines()
    versions = [
        number for number, line in enumerate(lines) if re.match(r"\s+(\w+_)?version: [\"v]?\d", line, re.IGNORECASE)
    ]
    return [lines[number].strip() for number in versions if "# renovate: datasource=" not in lines[number - 1]]


def test_a_version_without_a_mark_is_found() -> None:
    assert unmarked("  with:\n    version: 0.13.0") == ["version: 0.13.0"]


def test_a_chart_in_terraform_would_be_found() -> None:
    text = '  # renovate: datasource=helm depName=a registryUrl=https://charts.example\n  default     = "9.59.0"\n'
    expected = {"datasource": "helm", "depName": "a", "registryUrl": "https://charts.example", "currentValue": "9.59.0"}
    assert list(found("terraform/modules/a/variables.tf", text)) == [expected]


@pytest.mark.parametrize(
    ("image", "next_major"),
    [("docker.io/library/postgres", "18-bookworm"), ("docker.io/library/redis", "8.0-alpine")],
)
def test_the_major_version_of_a_database_stays(image: str, next_major: str) -> None:
    (rule,) = [one for one in CONFIGURATION["packageRules"] if image in one["matchPackageNames"]]
    allowed = re.compile(rule["allowedVersions"].strip("/"))
    compose = (ROOT / "workers/compose/compose.yaml").read_text()
    (tag,) = re.findall(rf"{image}:([\w.-]+)@", compose)
    assert allowed.search(tag)
    assert not allowed.search(next_major)
