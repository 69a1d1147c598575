"""Debian's Chromium, for tests that use pages like people do."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or ""
# Without these flags it contacts its maker's hosts at every start.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"),
]
_under_axe: set["Page"] = set()
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed")


# Not for the session: playwright's loop would stay in this thread, and nothing else could run one.
@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Started once per test file; `new_context` gives a browser without cookies or storage."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


def watched(page: "Page") -> list[str]:
    """Problems of this page from now on: errors, violations of its policy, and requests to other hosts."""
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda message: wrong.append(message.text) if _stopped(page, message.text) else None)
    page.on("request", lambda request: None if _is_here(request.url) else wrong.append(f"asked {request.url}"))
    return wrong


def barriers(page: "Page") -> list[str]:
    """Accessibility problems found by axe-core: rules of WCAG 2.2 A and AA, serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    _under_axe.add(page)
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
    page.wait_for_timeout(50)  # its own events have been reported by then
    _under_axe.remove(page)
    return [
        f"{one['id']}: {one['help']}: {', '.join(str(node['target']) for node in one['nodes'][:5])}"
        for one in found.response["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def picture(page: "Page", path: Path) -> None:
    """The page as it is now, after all animations have ended."""
    page.screenshot(path=path, animations="disabled")


def _stopped(page: "Page", text: str) -> bool:
    """Whether the policy blocked something of the page. axe-core tries styles out, which are blocked too."""
    return "Content Security" in text and page not in _under_axe


def _is_here(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "blob:", "data:"))
