"""The page in a real browser, with the real API and a real Prefect server. The tests write what workers would write."""

import io
import json
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from stenopool.api.ids import decode
from stenopool.errors import ErrorCode, Failure
from stenopool.pipeline import receipts
from stenopool.pipeline.receipts import Receipt
from tests.support.api_server import Api, secret, serving, sound
from tests.support.browser import barriers, needs_chromium, watched

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

pytestmark = needs_chromium
expect.set_options(timeout=30_000)

# A word is marked for half a second, which a test on a busy machine may miss.
SLOWLY = "audio => { audio.defaultPlaybackRate = 0.1; audio.playbackRate = 0.1 }"
PHONE = {"width": 375, "height": 740}
HOSTILE = "<img src=x onerror=alert(1)> & call.wav"


@contextmanager
def visit(browser: Browser, api: Api, who: str | None = "boss", **context: Any) -> Iterator[Page]:
    """Opens the page, and signs in with a key if there is one. At the end, the browser must have reported no errors."""
    opened = browser.new_context(base_url=api.url, **context)
    opened.set_default_timeout(30_000)
    page = opened.new_page()
    wrong = watched(page)
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.goto("/")
    if who:
        page.get_by_label("Key", exact=True).fill(secret(who))
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("link", name="Stenopool")).to_be_visible()
    yield page
    opened.close()
    assert wrong == []


def tone(seconds: float = 9.5) -> bytes:
    """A WAV file that can be played and sought in."""
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(8000)
        at = numpy.arange(int(8000 * seconds)) / 8000
        target.writeframes((3000 * numpy.sin(2 * numpy.pi * 220 * at)).astype("<i2").tobytes())
    return file.getvalue()


def send(api: Api, name: str = "call.wav", content: bytes | None = None) -> str:
    with api.client() as client:
        sent = client.post("/v1/recordings", files={"file": (name, content or tone())}).raise_for_status()
    return str(sent.json()["id"])


def fail(api: Api, prefect: "SyncPrefectClient", id: str) -> None:
    """Write what a worker leaves for a recording that cannot be transcribed."""
    from prefect.states import Completed

    failure = Failure(
        code=ErrorCode.NO_AUDIO_STREAM, message="There is no sound in it.", remedy=ErrorCode.NO_AUDIO_STREAM.remedy
    )
    receipts.write(
        api.destination, Receipt(key=decode(id), fingerprint="0" * 32, status="quarantined", failure=failure)
    )
    end(api, prefect, id, Completed())


def end(api: Api, prefect: "SyncPrefectClient", id: str, state: Any) -> None:
    with api.client() as client:
        (run,) = [entry["id"] for entry in client.get("/v1/queue").json()["entries"] if entry["recording"] == id]
    prefect.set_flow_run_state(run, state, force=True)


def rows(page: Page, name: str) -> Any:
    return page.get_by_role("list", name=name).get_by_role("listitem")


def test_a_key_opens_the_page_for_this_tab_only(browser: Browser, api: Api) -> None:
    with visit(browser, api, None) as page:
        expect(page.get_by_label("Key", exact=True)).to_be_focused()
        page.keyboard.type("steno_wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("Unknown key.")
        page.get_by_label("Key", exact=True).fill(secret("boss"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="In the queue")).to_be_visible()
        page.reload()
        expect(page.get_by_text("The queue is empty.")).to_be_visible()
        kept = page.evaluate("({s: {...sessionStorage}, l: {...localStorage}, c: document.cookie})")
        assert (list(kept["s"].values()), kept["l"], kept["c"]) == ([secret("boss")], {}, "")
        another = page.context.new_page()
        another.goto("/")
        expect(another.get_by_role("button", name="Sign in")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        assert page.evaluate("sessionStorage.length") == 0


def test_each_scope_sees_only_what_it_allows(browser: Browser, api: Api) -> None:
    id = send(api)
    api.finish(id)
    with visit(browser, api, "reader") as page:
        expect(rows(page, "In the order")).to_have_count(1)
        for name in ("Choose files", "Pause", "Clear", "Cancel call.wav"):
            expect(page.get_by_role("button", name=name)).to_have_count(0)
    with visit(browser, api, "writer") as page:
        expect(page.get_by_role("button", name="Choose files")).to_be_visible()
        expect(page.get_by_role("heading", name="In the queue")).to_have_count(0)
        page.set_input_files("input[type=file]", files=[file("blind.wav")])
        expect(rows(page, "Sent from this tab")).to_contain_text("Queued")


def test_without_keys_no_sign_in_is_needed(browser: Browser, api: Api) -> None:
    from stenopool.settings import ApiSettings

    where = {name: str(Path(getattr(api, name).uri.removeprefix("file://"))) for name in ("source", "destination")}
    with serving(ApiSettings(**where), authenticated=False) as open_api, visit(browser, open_api, None) as page:
        expect(page.get_by_text("This machine only")).to_be_visible()
        page.set_input_files("input[type=file]", files=[file("a.wav")])
        expect(rows(page, "In the order")).to_contain_text("a.wav")


def test_a_late_response_to_a_request_without_a_key_does_not_sign_out(browser: Browser, api: Api) -> None:
    late: list[Route] = []
    opened = browser.new_context(base_url=api.url)
    page = opened.new_page()
    page.route("**/v1/options", lambda route: route.continue_() if late else late.append(route))
    page.goto("/")
    page.get_by_label("Key", exact=True).fill(secret("boss"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("link", name="Stenopool")).to_be_visible()
    late[0].fulfill(status=401, json={"code": "UNAUTHENTICATED"})
    page.reload()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    opened.close()


def file(name: str, content: bytes | None = None) -> Any:
    return {"name": name, "mimeType": "audio/wav", "buffer": content or sound()}


def test_files_are_sent_queued_cancelled_and_cleared(browser: Browser, api: Api) -> None:
    with visit(browser, api) as page:
        named = [file(f"{name}.wav") for name in ("one", "two", "three")]
        page.set_input_files("input[type=file]", files=[*named, file("doc.wav", b"PK\x03\x04 is a document")])
        waiting = rows(page, "In the order")
        expect(waiting).to_have_count(3)
        for place, name in enumerate(("one", "two", "three")):
            expect(waiting.nth(place)).to_contain_text(f"{name}.wav")
            expect(waiting.nth(place)).to_contain_text(f"No. {place + 1}")
        refused = rows(page, "Sent from this tab").filter(has_text="doc.wav")
        expect(refused).to_contain_text("NOT_AUDIO")
        expect(refused).to_contain_text(ErrorCode.NOT_AUDIO.remedy)

        page.get_by_role("button", name="Cancel two.wav").click()
        expect(waiting).to_have_count(2)
        expect(rows(page, "Sent from this tab").filter(has_text="two.wav")).to_contain_text("Cancelled")

        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text("Paused: runs in progress continue")).to_be_visible()
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_role("button", name="Pause")).to_be_visible()

        # A dialog asks first; Escape cancels.
        page.get_by_role("button", name="Clear").click()
        expect(page.get_by_role("dialog")).to_contain_text("Clear 2 waiting runs?")
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page.get_by_role("button", name="Clear")).to_be_focused()
        expect(waiting).to_have_count(2)
        page.get_by_role("button", name="Clear").click()
        page.get_by_role("button", name="Clear the queue").click()
        expect(page.get_by_text("The queue is empty.")).to_be_visible()
        expect(page.get_by_role("log").filter(has_text="2 runs cleared.")).to_have_count(1)


def test_dropped_files_and_addresses_are_sent(browser: Browser, api: Api) -> None:
    api.source.put_bytes("calls/monday.wav", sound())
    with visit(browser, api, "clerk") as page:
        data = page.evaluate_handle(
            "(bytes) => { const data = new DataTransfer(); "
            "data.items.add(new File([new Uint8Array(bytes)], 'drop.wav')); return data; }",
            list(sound(0.1)),
        )
        page.dispatch_event(".drop", "drop", {"dataTransfer": data})
        expect(rows(page, "In the order")).to_contain_text("drop.wav")
        address = page.get_by_label("Or enter an address below")
        address.fill("s3://elsewhere/a.wav")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert").filter(has_text="LOCATION_INVALID")).to_be_visible()
        address.fill(f"{api.source.uri}/calls/monday.wav")
        page.keyboard.press("Enter")
        expect(rows(page, "In the order").nth(1)).to_contain_text("monday.wav")
        # Everything below a prefix, as one run.
        address.fill(f"{api.source.uri}/calls/")
        page.keyboard.press("Enter")
        expect(rows(page, "In the order")).to_have_count(3)


def test_options_come_from_the_schema_and_are_sent_with_the_recording(
    browser: Browser, api: Api, prefect: "SyncPrefectClient"
) -> None:
    from stenopool.options import TranscriptionOptions

    with visit(browser, api) as page:
        page.get_by_text("More options").click()
        for name in TranscriptionOptions.model_fields:
            expect(page.locator(f"[name={name}]")).to_be_visible()
        page.get_by_label("Language", exact=True).select_option("de")
        page.get_by_label("Beam size").fill("3")
        page.get_by_label("Vocabulary").fill("Kowalski, Stenopool")
        # Invalid combinations are reported before anything is sent.
        page.get_by_label("Channels", exact=True).select_option("split")
        page.get_by_label("Number of speakers").fill("2")
        expect(page.get_by_role("alert").filter(has_text="cannot be combined")).to_be_visible()
        page.get_by_label("Channels", exact=True).select_option("mix")
        expect(page.get_by_role("alert").filter(has_text="cannot be combined")).to_have_count(0)
        page.set_input_files("input[type=file]", files=[file("mit.wav")])
        expect(rows(page, "In the order")).to_contain_text("mit.wav")
    with api.client() as client:
        (entry,) = client.get("/v1/queue").json()["entries"]
    assert prefect.read_flow_run(entry["id"]).parameters["options"] == {
        "language": "de",
        "beam_size": 3,
        "vocabulary": ["Kowalski", "Stenopool"],
        "speakers": 2,
    }


def test_recordings_are_searched_filtered_and_paged(browser: Browser, api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Completed

    for number in range(30):
        api.source.put_bytes(f"x-archive/call-{number:02d}.wav", sound(0.1))
    bad, good = send(api, "board.wav"), send(api, "interview.wav")
    fail(api, prefect, bad)
    api.finish(good)
    end(api, prefect, good, Completed())
    with visit(browser, api, viewport={"width": 1100, "height": 800}) as page:
        page.get_by_role("link", name="Recordings").click()
        expect(page.get_by_role("main")).to_be_focused()
        found = rows(page, "Recordings")
        expect(found).to_have_count(25)
        expect(found.first).to_contain_text("interview.wav")  # the newest upload
        page.get_by_role("button", name="Show more").click()
        expect(found).to_have_count(32)
        expect(page.get_by_role("button", name="Show more")).to_have_count(0)

        page.get_by_label("Search by name or folder").fill("CALL-2")
        expect(found).to_have_count(10)
        page.reload()  # the address has the search
        expect(found).to_have_count(10)
        page.get_by_label("Search by name or folder").fill("no such thing")
        expect(page.get_by_text("No recordings match.")).to_be_visible()
        page.get_by_label("Search by name or folder").fill("")
        page.get_by_label("State").select_option("failed")
        expect(found).to_have_count(1)
        for said in ("board.wav", "There is no sound in it.", "NO_AUDIO_STREAM", ErrorCode.NO_AUDIO_STREAM.remedy):
            expect(found).to_contain_text(said)
        page.get_by_role("button", name="Retry board.wav").click()
        expect(found).to_contain_text("No. ")
        page.get_by_role("button", name="Cancel board.wav").click()

        page.get_by_label("State").select_option("completed")
        page.get_by_role("button", name="Delete interview.wav").click()
        page.get_by_role("button", name="Delete it").click()
        expect(page.get_by_text("No recordings match.")).to_be_visible()
    assert not api.source.exists(decode(good))


def test_a_transcript_is_played_read_named_and_downloaded(browser: Browser, api: Api) -> None:
    id = send(api)
    api.finish(id)
    with api.client() as client:
        client.delete("/v1/queue")
    with visit(browser, api) as page:
        page.goto(f"/#/recordings/{id}")
        expect(page.get_by_role("heading", name="call.wav")).to_be_visible()
        audio = page.locator("audio")
        expect(audio).to_be_visible()
        audio.evaluate(SLOWLY)
        page.get_by_text("How", exact=True).click()
        expect(page.locator(".now")).to_have_text("How")
        position = page.evaluate("document.querySelector('audio').currentTime")
        assert 2.5 <= position < 3.5
        expect(page.locator(".now")).to_have_text("are")  # the mark follows the audio
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        expect(page.locator(".now")).to_have_text("Hi!")
        page.evaluate("document.querySelector('audio').pause()")

        page.get_by_label("Search the transcript").fill("hi! how")
        expect(page.locator("#search output")).to_have_text("1 of 1")
        expect(page.locator(".hit")).to_have_text(["Hi!", "How"])

        page.get_by_role("button", name="Rename SPEAKER_00").click()
        page.keyboard.type("Anna <b>&")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Anna <b>&")).to_be_visible()
        expect(page.get_by_role("button", name="Rename Anna <b>&")).to_be_focused()
        page.get_by_role("button", name="Rename SPEAKER_01").click()
        page.keyboard.type("Bo")
        page.keyboard.press("Escape")
        expect(page.get_by_role("heading", name="SPEAKER_01")).to_be_visible()
        page.reload()
        expect(page.get_by_role("heading", name="Anna <b>&")).to_be_visible()
        # If a word is selected before the audio is loaded, it is played afterwards.
        audio.evaluate(SLOWLY)
        page.get_by_text("there.", exact=True).click()
        expect(page.locator(".now")).to_have_text("there.")

        for format in ("json", "srt", "vtt", "txt", "tsv", "rttm", "html"):
            with page.expect_download() as saved:
                page.get_by_role("button", name=f"Download as {format.upper()}").click()
            assert saved.value.suggested_filename == f"call.wav.{format}"
            content = Path(saved.value.path()).read_text()
            assert "SPEAKER_00" not in content
            assert "Anna" in content or format == "tsv"
            if format == "json":
                assert json.loads(content)["speakers"] == ["Anna <b>&", "SPEAKER_01"]


def test_names_are_never_markup(browser: Browser, api: Api, prefect: "SyncPrefectClient") -> None:
    id = send(api, HOSTILE)
    with visit(browser, api) as page:
        expect(rows(page, "In the order")).to_contain_text(HOSTILE)
        page.get_by_role("link", name="Recordings").click()
        expect(rows(page, "Recordings")).to_contain_text(HOSTILE)
        api.finish(id)
        fail(api, prefect, id)
        with api.client() as client:
            client.put(f"/v1/recordings/{id}/speakers", json={"names": {"SPEAKER_00": HOSTILE}}).raise_for_status()
        page.goto(f"/#/recordings/{id}")
        expect(page.get_by_role("heading", name=HOSTILE)).to_have_count(2)
        expect(page.locator("img")).to_have_count(0)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(scheme: Any, browser: Browser, api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Running

    bad, busy, done = (send(api, name) for name in ("board.wav", "long.wav", "call.wav"))
    fail(api, prefect, bad)
    end(api, prefect, busy, Running())
    api.finish(done)
    with visit(browser, api, None, color_scheme=scheme) as page:
        expect(page.get_by_label("Key", exact=True)).to_be_visible()
        assert barriers(page) == []
    with visit(browser, api, color_scheme=scheme, viewport=PHONE) as page:
        page.set_input_files("input[type=file]", files=[file("no.wav", b"no recording")])
        expect(page.get_by_text("Refused", exact=True)).to_be_visible()
        expect(rows(page, "In the order")).to_have_count(2)
        page.get_by_text("More options").click()
        check_layout(page)
        page.get_by_role("link", name="Recordings").click()
        expect(page.get_by_text("There is no sound in it.")).to_be_visible()
        check_layout(page)
        page.get_by_role("button", name="Delete board.wav").click()
        check_layout(page)
        page.keyboard.press("Escape")
        page.goto(f"/#/recordings/{bad}")
        expect(page.get_by_text("NO_AUDIO_STREAM")).to_be_visible()
        check_layout(page)
        page.goto(f"/#/recordings/{done}")
        expect(page.locator("audio")).to_be_visible()
        page.get_by_text("Hello", exact=True).click()
        page.get_by_role("button", name="Rename SPEAKER_01").click()
        check_layout(page)


def check_layout(page: Page) -> None:
    """There are no accessibility barriers, and nothing is wider than the screen."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert barriers(page) == []


def test_an_unreachable_service_is_reported_until_it_is_back(browser: Browser, api: Api) -> None:
    with visit(browser, api) as page:
        expect(page.get_by_text("The queue is empty.")).to_be_visible()
        page.context.set_offline(True)
        expect(page.get_by_text("The service does not respond.")).to_be_visible()
        page.context.set_offline(False)
        expect(page.get_by_text("The service does not respond.")).to_have_count(0)
