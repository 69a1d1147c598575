"""Settings: read from the environment under the documented names, and the reference is up to date."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.render_docs import render
from stenopool.settings import Settings, get_settings

ROOT = Path(__file__).parents[1]
DOCUMENTED = re.findall(r"`(STENOPOOL_\w+)`", (ROOT / "docs" / "settings.md").read_text())


@pytest.mark.parametrize(
    "page", ["settings.md", "options.md", "metrics.md", "errors.md", "openapi.json", "transcript.schema.json"]
)
def test_a_reference_page_matches_the_code(page: str) -> None:
    path = ROOT / "docs" / page
    assert render()[path] == path.read_text(), "run `python -m docs.render_docs`"


def test_the_reference_is_the_same_on_every_machine() -> None:
    script = "from docs.render_docs import render; print(*render().values(), sep='', end='')"
    elsewhere = {**os.environ, "HOME": "/home/somebody", "TMPDIR": "/var/tmp", "STENOPOOL_MODELS__CACHE": "/cache"}
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=elsewhere, capture_output=True, text=True)
    assert run.stdout == "".join(path.read_text() for path in render()), run.stderr


def test_every_setting_is_documented_and_described() -> None:
    fields = {
        f"STENOPOOL_{group}__{name}".upper(): field
        for group, settings in Settings()
        for name, field in type(settings).model_fields.items()
    }
    assert sorted(DOCUMENTED) == sorted(fields)
    assert all(field.description for field in fields.values())


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_documented_name_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    group, setting = name.removeprefix("STENOPOOL_").lower().split("__")
    value = {
        "STENOPOOL_DISPATCH__BY": "deployment",
        "STENOPOOL_LOG__FORMAT": "json",
        "STENOPOOL_API__NEUTRAL_NAMES": "True",
        "STENOPOOL_MODELS__MIRROR_SHA256": "7" * 64,
        "STENOPOOL_STORAGE__ENCRYPTION": "aws:kms",
        "STENOPOOL_STORAGE__REQUESTER_PAYS": "True",
        "STENOPOOL_STORAGE__ACL": "bucket-owner-full-control",
        "STENOPOOL_STORAGE__TAGS": "team=calls&kept=",
        "STENOPOOL_STORAGE__ADDRESSING": "virtual",
        "STENOPOOL_STORAGE__CONDITIONAL_WRITES": "False",
    }.get(name, "7")
    monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    assert str(getattr(getattr(get_settings(), group), setting)) in (value, f"{value}.0", f"('{value}',)")


@pytest.mark.parametrize(
    "name", ["STENOPOOL_BATCH__BATCH_SECONDS", "STENOPOOL_AUDIO__DECODE_TIMEOUT", "STENOPOOL_SCRATCH__MAX_BYTES"]
)
def test_impossible_limits_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "0")
    with pytest.raises(ValueError, match="greater than 0"):
        Settings()
