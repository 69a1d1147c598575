"""Real recordings for tests: the folder `STENOPOOL_SPEECH`, or `shared/speech` next to the checkout."""

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

SPEECH = Path(os.environ.get("STENOPOOL_SPEECH") or Path(__file__).parents[3] / "shared" / "speech")

needs_speech = pytest.mark.skipif(
    not (SPEECH / "manifest.json").exists(), reason=f"no recordings at {SPEECH}: set STENOPOOL_SPEECH"
)


@lru_cache(maxsize=1)
def _manifest() -> tuple[dict[str, Any], ...]:
    return tuple(json.loads((SPEECH / "manifest.json").read_text(encoding="utf-8")))


def recordings(*kinds: str) -> list[dict[str, Any]]:
    """Manifest items of these kinds (default: all); skips the test, with the reason, if there are none."""
    if not (SPEECH / "manifest.json").exists():
        pytest.skip(f"no recordings at {SPEECH}: set STENOPOOL_SPEECH")
    return [dict(item) for item in _manifest() if not kinds or item["kind"] in kinds]


def recording_path(name: str) -> Path:
    """The path of one recording by its manifest name, e.g. ``hard/empty.wav``; skips the test if it is missing."""
    path = SPEECH / name
    if not path.exists():
        pytest.skip(f"no recording {path}: set STENOPOOL_SPEECH")
    return path
