"""Every module and stack: formatted, valid against the providers' schemas, passing its own tests, documented."""

import json
import re

import pytest

from terraform.render_readmes import render
from tests.support.terraform.workspace import ROOT, Workspace

ALL = sorted(str(folder.relative_to(ROOT)) for kind in ("modules", "stacks") for folder in (ROOT / kind).iterdir())
# A module with ephemeral outputs cannot be tested on its own.
HANDS_OUT_A_SECRET = "modules/password"
VALID = [name for name in ALL if name != HANDS_OUT_A_SECRET]
# `terraform test` has no mocks for ephemeral resources.
TESTED = [name for name in VALID if name != "modules/secret"]
EXAMPLES = sorted(file.name for file in (ROOT / "examples").glob("*.tfvars"))


@pytest.mark.parametrize("name", VALID)
def test_a_module_is_valid(tree: Workspace, name: str) -> None:
    assert tree.complaints(name) == []


def test_the_module_that_outputs_a_secret_is_valid_apart_from_that(tree: Workspace) -> None:
    assert [complaint.partition(":")[0] for complaint in tree.complaints(HANDS_OUT_A_SECRET)] == [
        "Ephemeral output not allowed"
    ]


@pytest.mark.parametrize("name", TESTED)
def test_a_module_passes_its_own_tests(testable: Workspace, name: str) -> None:
    result = testable.test(name)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"^Success! [1-9]\d* passed, 0 failed", result.stdout, re.MULTILINE), result.stdout


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_can_be_applied(testable: Workspace, example: str) -> None:
    """Apply both stacks in order, with only the example's variables and the output of the first."""
    cloud, cluster = "stacks/cloud", "stacks/cluster"
    outputs = testable.apply(cloud, f"../../examples/{example}")["outputs"]
    given = testable.folder / cluster / f"{example}.json"
    given.write_text(json.dumps(outputs["cluster"]["value"] | EXTRA.get(example, {})))
    assert testable.apply(cluster, given.name)


def test_a_module_is_formatted(tree: Workspace) -> None:
    result = tree.run(".", "fmt", "-check", "-recursive", "-diff")
    assert result.returncode == 0, result.stdout


# What an example's comment says that the second stack needs.
EXTRA = {"air-gapped.tfvars": {"mirror": "111122223333.dkr.ecr.eu-central-1.amazonaws.com"}}


def _blocks(kind: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf'^{kind} "(\w+)" {{$(.*?)^}}$', re.MULTILINE | re.DOTALL)
    return [
        (f"{file.relative_to(ROOT)}: {name}", body)
        for file in sorted(ROOT.rglob("*.tf"))
        for name, body in pattern.findall(file.read_text())
    ]


def test_variables_have_types_and_descriptions_and_outputs_have_descriptions() -> None:
    wanted = [("variable", "type"), ("variable", "description"), ("output", "description")]
    lacking = [
        f"{place} has no {field}"
        for kind, field in wanted
        for place, body in _blocks(kind)
        if not re.search(rf"^  {field}\s+= ", body, re.MULTILINE)
    ]
    assert len(_blocks("variable")) > 50
    assert lacking == []


def test_modules_come_from_this_repository() -> None:
    source = re.compile(r'^  source\s+= "(.*)"', re.MULTILINE)
    sources = [found for _, body in _blocks("module") for found in source.findall(body)]
    assert len(sources) > 15
    assert [found for found in sources if not found.startswith("../../modules/")] == []


@pytest.mark.parametrize("name", ALL)
def test_versions_are_pinned(name: str) -> None:
    text = "".join(file.read_text() for file in (ROOT / name).glob("*.tf"))
    assert re.search(r'required_version = ">= 1\.11, < 2\.0"', text)
    assert len(re.findall(r'source = "hashicorp/', text)) == len(re.findall(r'version = "~> \d+\.\d+"', text))


@pytest.mark.parametrize("name", ALL)
def test_readme_lists_inputs_and_outputs(name: str) -> None:
    folder = ROOT / name
    assert (folder / "README.md").read_text() == render(folder), "run: python -m terraform.render_readmes"


def test_renovate_updates_the_versions_of_charts_and_kubernetes() -> None:
    moved = re.compile(r"^  # renovate: datasource=\S+ depName=\S+.*\n  default +=", re.MULTILINE)
    versions = [(name, body) for name, body in _blocks("variable") if re.search(r"(chart|plugin)_version$", name)]
    versions += [
        (name, body) for name, body in _blocks("variable") if name == "stacks/cloud/variables.tf: kubernetes_version"
    ]
    assert len(versions) == 3
    assert [name for name, body in versions if not moved.search(body)] == []


def test_every_module_states_its_cost() -> None:
    modules = [folder for folder in (ROOT / "modules").iterdir() if folder.is_dir()]
    assert [each.name for each in modules if "\n**Cost.** " not in (each / "README.md").read_text()] == []
