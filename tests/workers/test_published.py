"""What a release publishes has one name and one version, in the workflow and wherever people or programs read it."""

import re
from pathlib import Path

import pytest
import yaml

from stenopool import __version__

REPOSITORY = Path(__file__).parents[2]
NAME = "ghcr.io/stenopool/stenopool"
GUIDES = [REPOSITORY / path for path in ("docs/deploy/compose.md", "docs/deploy/kubernetes.md", "terraform/README.md")]
PAGES = [*GUIDES, *sorted((REPOSITORY / "docs/operations").glob("*.md")), REPOSITORY / "workers/README.md"]


def faults(text: str) -> list[str]:
    """Images and charts under a name or a version that no release has."""
    found = re.findall(r"[\w./{}$-]*stenopool(?:/charts/stenopool)?:[\w.$<>{}-]*\d[\w.$<>{}-]*", text)
    right = rf"{NAME}(:({__version__}|<version>)-(cpu|cuda12|\$kind)|/charts/stenopool:{__version__})"
    return [one for one in found if not re.fullmatch(right, one.lstrip("/"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_pages_use_published_names_of_this_version(page: Path) -> None:
    assert faults(page.read_text()) == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_every_guide_names_what_is_published(guide: Path) -> None:
    assert NAME in guide.read_text()


@pytest.mark.parametrize(
    "wrong", ["docker pull stenopool:0.1.0-cpu", f"{NAME}:0.0.9-cpu", f"oci://{NAME}/charts/stenopool:9.0.0"]
)
def test_a_name_that_no_release_has_is_found(wrong: str) -> None:
    assert faults(wrong)


def test_the_release_pushes_to_that_name() -> None:
    text = (REPOSITORY / ".github/workflows/release.yaml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["env"]["IMAGE"].replace("${{ github.repository }}", "stenopool/stenopool") == NAME
    assert '"oci://$IMAGE/charts"' in text
    source = re.search(
        r'image\.source="https://github\.com/([\w/-]+)"', (REPOSITORY / "workers/Dockerfile").read_text()
    )
    assert source
    assert f"ghcr.io/{source[1]}" == NAME


def test_defaults_are_that_name() -> None:
    values = yaml.safe_load((REPOSITORY / "workers/helm/stenopool/values.yaml").read_text())
    assert values["image"]["repository"] == NAME
    template = (REPOSITORY / "workers/templates/kubernetes.yaml").read_text()
    images = re.findall(r"(?m)default: (\S+:STENOPOOL_VERSION[\w-]*)", template)
    assert images == [f"{NAME}:STENOPOOL_VERSION-cpu", f"{NAME}:STENOPOOL_VERSION-cuda12"]
