"""Calls of the command line in this process."""

import pytest

from stenopool.cli import main
from tests.support.command_line import Call, caller


@pytest.fixture
def stenopool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the entry point with arguments: ``stenopool("plan", source, destination)``."""
    return caller(main, monkeypatch, capsys)
