"""The help of every command has an example that the command accepts."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest
import typer

from stenopool.cli import app
from tests.support.command_line import Call


def _commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in getattr(group, "commands", {}).items():
        if getattr(command, "commands", None):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(_commands(typer.main.get_command(app)))


def test_all_commands_exist() -> None:
    assert {" ".join(path) for path in COMMANDS} >= {
        *("run", "plan", "status", "retry", "show", "demo", "doctor"),
        *("models list", "models path", "models fetch", "models mirror", "models verify"),
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_the_command_accepts(path: tuple[str, ...], stenopool: Call) -> None:
    answer = stenopool(*path, "--help")
    assert answer.code == 0
    example = re.search(r"Example: (stenopool .*)", answer.out)
    assert example, answer.out
    shown = COMMANDS[path].help or ""
    words = shlex.split(shown.partition("Example: ")[2])
    if words[1 : 1 + len(path)] == list(path):
        # Parsed, not run: a misspelt option or a missing argument raises.
        COMMANDS[path].make_context(" ".join(path), words[1 + len(path) :])
    else:
        assert f"stenopool {' '.join(path)}" in shown  # used inside another command


def test_no_arguments_show_the_help(stenopool: Call) -> None:
    assert "Commands" in stenopool().out


def test_version(stenopool: Call) -> None:
    assert re.fullmatch(r"stenopool \d+\.\d+\.\d+\n", stenopool("--version").out)


def test_bench_names_the_command_that_replaced_it(stenopool: Call) -> None:
    answer = stenopool("bench", "recordings", "--rounds", "3")
    assert answer.code == 2
    assert "python -m benchmarks.compare" in answer.err
