"""Helm from the package registry, and Stenopool's chart."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.helm.chart import VALUES, Chart, Manifest
from tests.support.helm.tools import fetch

SMALLEST: dict[str, Any] = {"api": {"source": "s3://calls", "destination": "s3://transcripts/calls"}}


@pytest.fixture(scope="session", autouse=True)
def programs() -> Path:
    """The folder with helm and kubectl."""
    try:
        return fetch()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"helm cannot be fetched: {error}")


@pytest.fixture(scope="session")
def chart() -> Chart:
    return Chart(VALUES / "stenopool")


@pytest.fixture(scope="session")
def rendered(chart: Chart) -> list[Manifest]:
    """The chart rendered with as few values as possible."""
    return chart.render(SMALLEST)


@pytest.fixture
def spoilt(tmp_path: Path) -> Chart:
    """A copy for planted mistakes."""
    shutil.copytree(VALUES / "stenopool", tmp_path / "stenopool")
    return Chart(tmp_path / "stenopool")
