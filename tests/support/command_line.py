"""A command line called in this process."""

from collections.abc import Callable
from typing import NamedTuple

import pytest


class Answer(NamedTuple):
    """Exit code and output of a call."""

    code: int
    out: str
    err: str


Call = Callable[..., Answer]


def caller(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """A function that calls the entry point with its arguments."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr("sys.argv", ["program", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return call
