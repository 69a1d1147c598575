"""The GitHub workflows, checked by zizmor and actionlint, which find planted mistakes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yaml"))


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).with_name(program)
    return subprocess.run([beside, *arguments], capture_output=True, text=True, check=False)


def zizmor(*files: Path) -> subprocess.CompletedProcess[str]:
    """Offline: checks that query GitHub (known vulnerabilities of actions, commits in no branch) are left out."""
    return run("zizmor", "--offline", "--quiet", "--no-progress", "--format=plain", *files)


def actionlint(*files: Path) -> subprocess.CompletedProcess[str]:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    return run("actionlint", f"-shellcheck={shellcheck}", *files)


def test_zizmor_finds_nothing() -> None:
    found = zizmor(*WORKFLOWS)
    assert found.returncode == 0, found.stdout + found.stderr


def test_actionlint_finds_nothing() -> None:
    found = actionlint(*WORKFLOWS)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
class TestWorkflow:
    def test_actions_are_pinned_by_commit_with_the_version_in_a_comment(self, workflow: Path) -> None:
        uses = re.findall(r"(?m)^ +(?:- )?uses: (.*)", workflow.read_text())
        assert uses
        for one in uses:
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one

    def test_permissions_are_granted_per_job_and_time_is_limited(self, workflow: Path) -> None:
        content = yaml.safe_load(workflow.read_text())
        assert content["permissions"] == {}
        for job in content["jobs"].values():
            assert job["permissions"]
            assert job["timeout-minutes"] <= 90

    def test_only_a_release_may_write(self, workflow: Path) -> None:
        jobs: dict[str, Any] = yaml.safe_load(workflow.read_text())["jobs"]
        writes = {name for name, job in jobs.items() if "write" in job["permissions"].values()}
        assert writes == ({"wheel", "images", "chart", "draft", "pypi"} if workflow.stem == "release" else set())


def release_faults(text: str) -> list[str]:
    """What would be public without a scan, or without provenance."""
    jobs: dict[str, Any] = yaml.safe_load(text)["jobs"]
    faults = []
    for name in ("wheel", "images", "chart"):
        if not any("actions/attest@" in step.get("uses", "") for step in jobs[name]["steps"]):
            faults.append(f"{name} has no provenance")
        if not {"id-token", "attestations", "artifact-metadata"} <= jobs[name]["permissions"].keys():
            faults.append(f"{name} may not store its provenance")
    (push,) = [step["with"] for step in jobs["images"]["steps"] if step.get("id") == "push"]
    if "tags" in push or "push-by-digest=true" not in push.get("outputs", ""):
        faults.append("an image has a name before it is scanned")
    order = [str(step.get("uses") or step["run"]).partition("@")[0] for step in jobs["images"]["steps"]]
    scan, tag = order.index("aquasecurity/trivy-action"), next(n for n, one in enumerate(order) if "imagetools" in one)
    if scan > tag:
        faults.append("an image is scanned after it has a name")
    return faults


def test_a_release_is_scanned_and_has_provenance_before_it_has_a_name() -> None:
    assert release_faults((FOLDER / "release.yaml").read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("          outputs: type=image.*", "          tags: x:1\n          push: true", "before it is scanned"),
        (r"(?s)(      - uses: aquasecurity.*?20m\n)(.*?)(?=\n  chart:)", r"\2\n\1", "scanned after it has a name"),
        (
            "(?s)      - uses: actions/attest@\\S+ # v[0-9.]+\n        with:\n          subject-path: dist/\\*\n",
            "",
            "wheel",
        ),
        ("      artifact-metadata: write.*", "", "may not store"),
    ],
)
def test_a_planted_mistake_in_the_release_is_found(old: str, new: str, fault: str) -> None:
    changed, count = re.subn(old, new, (FOLDER / "release.yaml").read_text(), count=1)
    assert count
    assert any(fault in one for one in release_faults(changed))


@pytest.mark.parametrize("workflow", ["ci", "nightly"])
def test_tests_fit_the_runner(workflow: str) -> None:
    """A hosted runner has 16 GB and is killed without a message when memory is full."""
    limits = re.findall(r"MemoryMax=(\d+)G", (FOLDER / f"{workflow}.yaml").read_text())
    assert limits
    assert all(int(limit) <= 14 for limit in limits)


def test_paths_in_workflows_exist() -> None:
    assert missing_paths("\n".join(workflow.read_text() for workflow in WORKFLOWS)) == []
    assert missing_paths("paths: tests/engines --ignore=api/nothing") == ["tests/engines", "api/nothing"]


def missing_paths(text: str) -> list[str]:
    """Paths of this repository that a workflow names and that do not exist."""
    folders = "|".join(re.escape(path.name) for path in ROOT.iterdir() if path.is_dir()) + "|api"
    named = re.findall(rf"(?<![\w./$@-])(?:--ignore=)?((?:{folders})/[\w./-]*\w)", text)
    return [path for path in named if not (ROOT / path).exists()]


def test_slow_tests_run_each_night() -> None:
    """Every folder with slow tests is in the matrix of the nightly workflow."""
    marked = {path for path in (ROOT / "tests").rglob("test_*.py") if re.search(r"mark\.slow", path.read_text())}
    matrix = yaml.safe_load((FOLDER / "nightly.yaml").read_text())["jobs"]["slow"]["strategy"]["matrix"]["include"]
    folders = [ROOT / path for job in matrix for path in job["paths"].split()]
    assert marked
    assert [path for path in marked if not any(path.is_relative_to(folder) for folder in folders)] == []


PLANTED = {
    "an action pinned only by tag": (
        zizmor,
        r"actions/checkout@[0-9a-f]{40} # v[\d.]+",
        "actions/checkout@v6",
        "unpinned-uses",
    ),
    "untrusted input in a shell": (
        zizmor,
        r"run: uv run --no-sync poe check",
        "run: echo ${{ github.event.pull_request.title }}",
        "template-injection",
    ),
    "write-all": (zizmor, r"permissions:\n      contents: read", "permissions: write-all", "excessive-permissions"),
    "a missing need": (
        actionlint,
        r"    timeout-minutes: 15",
        "    timeout-minutes: 15\n    needs: build",
        "build",
    ),
    "a variable without quotes": (
        actionlint,
        r"run: uv run --no-sync poe check",
        "run: rm -r $GITHUB_WORKSPACE",
        "SC2086",
    ),
    "an input that the event lacks": (
        actionlint,
        r"run: uv run --no-sync poe check",
        "run: echo '${{ inputs.nobody }}'",
        "nobody",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_found(mistake: str, tmp_path: Path) -> None:
    check, pattern, replacement, finding = PLANTED[mistake]
    folder = tmp_path / ".github" / "workflows"
    shutil.copytree(FOLDER, folder)
    workflow = folder / "ci.yaml"
    changed, count = re.subn(pattern, replacement, workflow.read_text(), count=1)
    assert count
    workflow.write_text(changed)
    found = check(workflow)
    assert found.returncode != 0
    assert finding in found.stdout + found.stderr
