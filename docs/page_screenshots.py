"""Screenshots of Stenopool's web page: ``python -m docs.page_screenshots``.

Starts everything on this machine with an empty home, uploads real recordings and an invalid one, and takes screenshots
with Debian's Chromium: the queue, a transcript, a failure, on a phone, and in dark mode.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

IMAGES = Path(__file__).parent / "images"
SPEECH = Path(os.environ.get("STENOPOOL_SPEECH") or Path(__file__).parents[2] / "shared" / "speech")
_PREFECT_PORT = 24200
PREFECT = f"http://127.0.0.1:{_PREFECT_PORT}"
PASSWORD = "docs:screenshots"
PORT = 24800
OURS = f"http://127.0.0.1:{PORT}"
_WORK = 300_000  # milliseconds that a recording may take on a busy machine


@contextmanager
def everything(home: Path) -> Iterator[None]:
    """`stenopool up`, until the block ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "STENOPOOL_"))}
    environment |= {
        "PREFECT_HOME": str(home),
        "STENOPOOL_BATCH__BATCH_RECORDINGS": "2",
        "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
    }
    command = [str(Path(sys.executable).with_name("stenopool")), "up", "--no-api", "--port", str(_PREFECT_PORT)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        print(process.stdout.readline())  # "Stenopool is running"
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """`stenopool serve --no-auth` on new folders, until the block ends."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": f"{PREFECT}/api",
        "PREFECT_API_AUTH_STRING": PASSWORD,
        "PREFECT_HOME": str(folder / "client"),
    }
    for name in ("source", "destination"):
        (folder / name).mkdir()
        environment[f"STENOPOOL_API__{name.upper()}"] = str(folder / name)
    command = [str(Path(sys.executable).with_name("stenopool")), "serve", "--no-auth", f"--port={PORT}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            while not _ready():
                assert process.poll() is None, "the API ended"
                time.sleep(0.5)
            yield
        finally:
            process.terminate()


def _ready() -> bool:
    try:
        with urllib.request.urlopen(f"{OURS}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError):
        return False


def recordings(folder: Path) -> list[Path]:
    """A telephone call, chapters and clips of books, and a file that is not a recording; with realistic names."""
    folder.mkdir()
    pyannote = find_spec("pyannote.audio")
    assert pyannote
    assert pyannote.origin
    call = Path(pyannote.origin).parent / "sample" / "sample.wav"
    clips = sorted((SPEECH / "en").glob("*.flac"))
    names = {
        "call 2026-11-24 14-02.wav": call,
        "voice memo monday.flac": clips[0],
        "interview, part 1.flac": clips[5],
        "interview, part 2.flac": clips[9],
        "board meeting.mp3": SPEECH / "long" / "crimson-00.mp3",
        "lecture 7.mp3": SPEECH / "long" / "crimson-26.mp3",
    }
    for name, path in names.items():
        shutil.copy(path, folder / name)
    (folder / "minutes (scan).mp3").write_bytes(b"ID3" + bytes(range(256)) * 200)
    return [folder / name for name in (*names, "minutes (scan).mp3")]


def picture(page: Page, name: str) -> None:
    page.wait_for_timeout(500)
    page.screenshot(path=IMAGES / f"{name}.png", animations="disabled")
    print(name)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with everything(folder / "home"), served(folder), sync_playwright() as play:
            _pictures(folder, play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]))


def _pictures(folder: Path, browser) -> None:  # type: ignore[no-untyped-def]
    call, memo, one, two, board, lecture, scan = recordings(folder / "desk")
    expect.set_options(timeout=_WORK)
    page = browser.new_page(base_url=OURS, viewport={"width": 1240, "height": 830})
    page.goto("/")
    page.set_input_files("input[type=file]", files=[call, scan])
    sent = page.get_by_role("list", name="Sent from this tab").get_by_role("listitem")
    expect(sent.filter(has_text=scan.name)).to_contain_text("Failed")
    expect(sent.filter(has_text=call.name)).to_contain_text("Completed")
    page.set_input_files("input[type=file]", files=[board, lecture])
    queue = page.get_by_role("list", name="In the order").get_by_role("listitem")
    expect(queue.first).to_contain_text("Transcribing")
    page.get_by_role("button", name="Pause").click()  # so that recordings wait in the queue
    page.set_input_files("input[type=file]", files=[memo, one, two])
    expect(queue.filter(has_text=two.name)).to_contain_text("No. 3")
    picture(page, "page-queue")

    phone = browser.new_page(base_url=OURS, viewport={"width": 390, "height": 844}, device_scale_factor=2)
    phone.goto("/")
    expect(phone.get_by_text("No. 1")).to_be_visible()
    phone.get_by_role("heading", name="In the queue").scroll_into_view_if_needed()
    phone.evaluate("scrollTo(0, document.querySelector('.queue').offsetTop - 16)")
    picture(phone, "page-phone")
    page.get_by_role("button", name="Resume").click()

    page.get_by_role("link", name="Recordings").click()
    page.get_by_label("State").select_option("failed")
    expect(page.locator(".failure")).to_be_visible()
    page.set_viewport_size({"width": 1240, "height": 460})
    picture(page, "page-failure")

    page.set_viewport_size({"width": 1240, "height": 830})
    page.get_by_label("State").select_option("")
    page.get_by_role("link", name=f"Open {call.name}").click()
    for label, name in (("SPEAKER_00", "Diane"), ("SPEAKER_01", "Sheila")):
        page.get_by_role("button", name=f"Rename {label}").click()
        page.keyboard.type(name)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=name).first).to_be_visible()
    page.locator("#text [data-t]:not(.time)").filter(has_text="originally").first.click()
    page.wait_for_timeout(700)
    page.locator("audio").evaluate("audio => audio.pause()")
    picture(page, "page-transcript")
    page.emulate_media(color_scheme="dark")
    picture(page, "page-dark")
    address = page.url
    phone.goto(address)
    expect(phone.locator("audio")).to_be_visible()
    picture(phone, "page-phone-transcript")
    browser.close()


if __name__ == "__main__":
    main()
