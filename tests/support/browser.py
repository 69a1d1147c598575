"""Debian's Chromium, for tests that use pages as people do."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or ""
# Without these it tries to reach its maker's hosts at every start.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"),
]
_under_axe: set["Page"] = set()
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed")


# Not for the session: playwright's loop stays in this thread meanwhile, and nothing else could run one.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Started once for a file of tests; `new_context` gives somebody who has never been here."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


def watched(page: "Page") -> list[str]:
    """What goes wrong on this page from now on: errors, what its policy stopped, and requests to anywhere else."""
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda message: wrong.append(message.text) if _stopped(page, message.text) else None)
    page.on("request", lambda request: None if _is_here(request.url) else wrong.append(f"asked {request.url}"))
    return wrong


def barriers(page: "Page") -> list[str]:
    """What axe-core finds that shuts somebody out: its rules for WCAG 2.2 A and AA, all that is serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    _under_axe.add(page)
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
    page.wait_for_timeout(50)  # what it did itself is told by then
    _under_axe.remove(page)
    return [
        f"{one['id']}: {one['help']}: {', '.join(str(node['target']) for node in one['nodes'][:5])}"
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def picture(page: "Page", path: Path) -> None:
    """The page as it is now, after all that moves has come to rest."""
    page.screenshot(path=path, animations="disabled")


def _stopped(page: "Page", text: str) -> bool:
    """Whether the policy stopped something of the page's. axe-core tries styles out, which it stops too."""
    return "Content Security" in text and page not in _under_axe


def _is_here(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "blob:", "data:"))
