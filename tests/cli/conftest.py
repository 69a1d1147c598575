"""The command line called as a person calls it, in this process or in one of its own."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from stenopool.cli import main


class Answer(NamedTuple):
    """What a call came to."""

    code: int
    out: str
    err: str


Call = Callable[..., Answer]


@pytest.fixture
def stenopool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """``stenopool("plan", source, destination)``: the entry point with these arguments."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr("sys.argv", ["stenopool", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return call
