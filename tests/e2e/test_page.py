"""The page as people use it: a real browser with the real API, server, workers and store, from upload to transcript."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from stenopool.options import FORMATS
from tests.support.api_server import secret
from tests.support.api_stack import Installation, Served
from tests.support.browser import needs_chromium, watched
from tests.support.speech import needs_speech, recording_path, recordings

pytestmark = [needs_speech, needs_chromium, pytest.mark.slow]

UNREADABLE = re.compile("NOT_AUDIO|INPUT_CORRUPT|NO_AUDIO_STREAM")
WORK = 180_000  # time limit for a recording, in milliseconds


def rows(page: Page, name: str) -> Locator:
    return page.get_by_role("list", name=name).get_by_role("listitem")


def test_recordings_are_sent_watched_cancelled_cleared_retried_read_and_named(
    installation: Installation, browser: Browser
) -> None:
    served = installation.api
    first, second, third = (recording_path(item["file"]) for item in recordings("en_short")[:3])
    # Starts like an MP3, but no worker can decode it.
    broken = {"name": "broken.mp3", "mimeType": "audio/mpeg", "buffer": b"ID3" + bytes(range(256)) * 40}
    page = browser.new_page(base_url=served.url, viewport={"width": 1280, "height": 900})
    wrong = watched(page)
    page.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)
    page.goto("/")
    page.get_by_label("Key", exact=True).fill(secret("boss"))
    page.get_by_role("button", name="Sign in").click()

    # Four wait in the order in which they were chosen; one of them is cancelled.
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Language", exact=True).select_option("en")
    page.set_input_files("input[type=file]", files=[first, second])
    page.set_input_files("input[type=file]", files=[broken])
    page.set_input_files("input[type=file]", files=[third])
    queue, sent = rows(page, "In the order"), rows(page, "Sent from this tab")
    names = [first.name, second.name, "broken.mp3", third.name]
    expect(queue).to_have_count(4)
    for place, name in enumerate(names):
        expect(queue.nth(place)).to_contain_text(name)
        expect(queue.nth(place)).to_contain_text(f"No. {place + 1}")
    page.get_by_role("button", name=f"Cancel {second.name}").click()
    expect(queue).to_have_count(3)
    expect(sent.filter(has_text=second.name)).to_contain_text("Cancelled")

    # They run one after another, and the page shows the progress. Nothing was in the API's memory.
    served.kill()
    expect(page.get_by_text("The service does not respond.")).to_be_visible()
    served.start()
    page.get_by_role("button", name="Resume").click()
    expect(queue.filter(has_text=first.name)).to_contain_text("Transcribing", timeout=WORK)
    expect(sent.filter(has_text=first.name)).to_contain_text("Completed", timeout=WORK)
    expect(sent.filter(has_text="broken.mp3")).to_contain_text("Failed", timeout=WORK)
    expect(sent.filter(has_text="broken.mp3").locator("code")).to_have_text(UNREADABLE)

    # Retried, it fails again. Waiting recordings are cleared meanwhile; running ones continue.
    page.get_by_role("button", name="Pause").click()
    sent.filter(has_text="broken.mp3").get_by_role("button", name="Retry").click()
    expect(queue.filter(has_text="broken.mp3")).to_contain_text("No. ")
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Clear the queue").click()
    expect(page.get_by_text("The queue is empty.")).to_be_visible(timeout=WORK)
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("link", name="Recordings").click()
    page.get_by_role("button", name=f"Retry {second.name}").click()
    expect(rows(page, "Recordings").filter(has_text=second.name)).to_contain_text("Completed", timeout=WORK)
    page.get_by_label("Search by name or folder").fill("broken")
    expect(rows(page, "Recordings")).to_have_count(1)
    expect(rows(page, "Recordings").locator("code")).to_have_text(UNREADABLE)
    page.get_by_label("Search by name or folder").fill(first.name)
    page.get_by_role("link", name=f"Open {first.name}").click()

    heard_read_and_named(page, served)
    page.close()
    assert wrong == []


def heard_read_and_named(page: Page, served: Served) -> None:
    """The transcript: words follow the real sound, a click seeks, a name survives a restart and is in every file."""
    audio = page.locator("audio")
    expect(audio).to_be_visible()
    audio.evaluate("audio => { audio.playbackRate = 0.25 }")
    words = page.locator("#text p [data-t]")
    fifth = words.nth(4)
    start, end = (float(fifth.get_attribute(name) or "nan") for name in ("data-t", "data-e"))
    fifth.click()
    expect(page.locator(".now")).to_have_text(fifth.inner_text())
    assert start - 0.1 <= audio.evaluate("audio => audio.currentTime") <= end + 1
    expect(page.locator(".now")).to_have_text(words.nth(6).inner_text())  # it follows the sound
    audio.evaluate("audio => audio.pause()")

    page.get_by_role("button", name="Rename SPEAKER_00").click()
    page.keyboard.type("Anna Kowalski")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Anna Kowalski").first).to_be_visible()
    served.kill()
    served.start()
    page.reload()
    expect(page.get_by_role("heading", name="Anna Kowalski").first).to_be_visible()
    for format in FORMATS:
        with page.expect_download() as saved:
            page.get_by_role("button", name=f"Download as {format.upper()}").click()
        content = Path(saved.value.path()).read_text()
        assert "SPEAKER_00" not in content
        assert ("Anna_Kowalski" if format == "rttm" else "Anna Kowalski") in content or format == "tsv", format
        if format == "json":
            assert json.loads(content)["speakers"] == ["Anna Kowalski"]
