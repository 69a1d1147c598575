"""The command line called as a person calls it, in this process."""

import pytest

from stenopool.cli import main
from tests.support.command_line import Call, caller


@pytest.fixture
def stenopool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """``stenopool("plan", source, destination)``: the entry point with these arguments."""
    return caller(main, monkeypatch, capsys)
