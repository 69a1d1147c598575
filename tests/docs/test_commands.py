"""The commands in the guides use existing options and files."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import typer.main

from benchmarks.compare.command import bench
from stenopool.cli import app
from tests.support.markdown import REPOSITORY, Command, commands, files, undefined

ALL = [command for file in files() for command in commands(file)]
COMPARE = typer.Typer()
COMPARE.command()(bench)
FOLDERS = {path.name for path in REPOSITORY.iterdir() if path.is_dir() and not path.name.startswith(".")}


def ours(found: list[Command]) -> list[Command]:
    """The `stenopool` commands, with or without a runner such as `uv run`."""
    runners = (["uv", "run"], ["python3", "-m", "uv", "run"], ["docker", "compose", "run", "--rm"])
    result = []
    for words, place in found:
        if "stenopool" in words and (words[0] == "stenopool" or any(words[: len(each)] == each for each in runners)):
            result.append(Command(words[words.index("stenopool") :], place))
    return result


def comparisons(found: list[Command]) -> list[Command]:
    """Calls of `python -m benchmarks.compare`."""
    name = "benchmarks.compare"
    return [Command(words[words.index(name) :], place) for words, place in found if name in words]


def complaint(words: list[str], app: typer.Typer = app) -> str | None:
    """The usage error of a command, which is parsed but not run."""
    # Typer includes a copy of click, whose classes are private.
    command: Any = typer.main.get_command(app)
    arguments = words[1:]
    context = command.context_class(command, info_name=words[0])
    try:
        while hasattr(command, "resolve_command") and arguments and not arguments[0].startswith("-"):
            name, command, arguments = command.resolve_command(context, arguments)
            context = command.context_class(command, parent=context, info_name=name)
        if arguments not in (["--help"], ["--version"]):
            command.parse_args(context, arguments)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())
    return None


def test_enough_commands_are_found() -> None:
    assert len(ours(ALL)) > 40
    assert {"helm", "kubectl", "docker", "curl"} <= {command.words[0] for command in ALL}


@pytest.mark.parametrize("command", ours(ALL), ids=lambda command: f"{command.place}: {' '.join(command.words)}")
def test_stenopool_accepts_the_command(command: Command) -> None:
    assert complaint(command.words) is None


def test_the_comparison_accepts_the_documented_options() -> None:
    found = comparisons(ALL)
    assert len(found) >= 2
    assert [(place, said) for words, place in found if (said := complaint(words, COMPARE))] == []
    assert complaint(["benchmarks.compare", "folder", "--round", "3"], COMPARE) is not None


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("stenopool transcribe a b", "transcribe"),
        ("stenopool run ./recordings ./transcripts --diarisation off", "--diarisation"),
        ("stenopool deploy --target cloud", "cloud"),
        ("stenopool serve --port eighty", "--port"),
        ("stenopool models mirror", "NAMES"),
    ],
)
def test_invalid_commands_are_found(line: str, word: str) -> None:
    found = complaint(line.split())
    assert found is not None
    assert word in found


def test_files_and_modules_in_commands_exist() -> None:
    missing = []
    for words, place in ALL:
        for word in words:
            path = word.partition("=")[2] if word.startswith("--") else word.removeprefix("../../../")
            if path.partition("/")[0] in FOLDERS and "/" in path and not (REPOSITORY / path).exists():
                missing.append(f"{place}: {word}")
        if words[:2] in (["python", "-m"], ["uv", "run"]) and "-m" in words:
            module = words[words.index("-m") + 1]
            if module.partition(".")[0] in FOLDERS and importlib.util.find_spec(module) is None:
                missing.append(f"{place}: -m {module}")
    # The examples create these; the third is the name of the repository.
    written = (
        ": transcripts/", ": docs/benchmarks/gpu", ": stenopool/stenopool",
        ": terraform/stacks/cluster/cloud.auto.tfvars.json",
    )  # fmt: skip
    assert [each for each in missing if not any(path in each for path in written)] == []


FOR_NEWCOMERS = [
    *sorted((REPOSITORY / "docs" / "deploy").glob("*.md")),
    *sorted((REPOSITORY / "docs" / "operations").glob("*.md")),
    REPOSITORY / "terraform" / "README.md",
]


@pytest.mark.parametrize("guide", FOR_NEWCOMERS, ids=lambda path: path.name)
def test_guides_work_in_an_empty_shell(guide: Path) -> None:
    """Each variable gets a value before it is used."""
    assert undefined(guide) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('pg_dump "$DATABASE_URL"', ["DATABASE_URL"]),
        ('export A=1 B=2\necho "$A${B}" $PWD', []),
        ("echo $A\nA=1", ["A"]),
        ("for kind in cpu cuda12; do\n  echo $kind $other\ndone", ["other"]),
        ("awk '{print $NF}' file", []),
    ],
)
def test_a_variable_without_a_value_is_found(text: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "guide.md").write_text(f"```sh\n{text}\n```\n")
    assert undefined(tmp_path / "guide.md") == names
