"""Recordings: states, pages, transcripts, retries, removal."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import pytest

from stenopool.api.ids import decode, encode
from stenopool.errors import ErrorCode, ObjectDenied, RecordingError
from stenopool.options import FORMATS, STORED, Format, SubtitleOptions, TranscriptionOptions
from stenopool.orchestration.names import batch_name
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import fingerprint
from stenopool.pipeline.outcomes import FailedRecording
from stenopool.pipeline.receipts import Receipt, work_key
from stenopool.pipeline.report import BatchReport
from stenopool.speech.renderers import CONTENT_TYPES, render
from stenopool.storage.s3 import process_client
from tests.api.conftest import Shared
from tests.speech.renderers.samples import STYLES, conversation
from tests.support.api_server import Api, sound
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun


def sent(client: httpx.Client, name: str = "a.wav", **form: Any) -> str:
    """Upload a recording; returns its id."""
    answer = client.post("/v1/recordings", files={"file": (name, sound())}, data=form)
    return str(answer.raise_for_status().json()["id"])


def state(client: httpx.Client, id: str) -> str:
    return str(client.get(f"/v1/recordings/{id}").raise_for_status().json()["state"])


def entry(client: httpx.Client, id: str) -> dict[str, Any]:
    """A recording's place in the queue."""
    (found,) = [one for one in client.get("/v1/queue").json()["entries"] if one["recording"] == id]
    return dict(found)


def ended(prefect: "SyncPrefectClient", run: str, state: Any) -> None:
    """Act as the worker: end the run in this state."""
    prefect.set_flow_run_state(run, state, force=True)


def quarantine(api: Api, id: str) -> None:
    """Write what `prepare` writes for a damaged recording."""
    key = decode(id)
    failure = RecordingError(ErrorCode.INPUT_CORRUPT, "It is damaged.").failure("prepare")
    receipts.write(api.destination, Receipt(key=key, fingerprint="0" * 32, status="quarantined", failure=failure))


def leave(api: Api, id: str, run: "FlowRun") -> None:
    """Write the report of a run that deferred a recording to the next one."""
    assert run.expected_start_time
    batch, now = batch_name(run.expected_start_time, run.id), datetime.now(UTC)
    failure = ObjectDenied("It may not be read.").failure("fetch")
    numbers = dict.fromkeys(("seconds", "new", "already_done", "in_quarantine", "done", "quarantined"), 0)
    report = BatchReport.model_validate(
        {"batch": batch, "source": api.source.uri, "destination": api.destination.uri, "options": {}}
        | {"started_at": now, "finished_at": now, "deferred": 1, "audio_seconds": 0.0, "realtime_factor": 0.0}
        | {"stage_seconds": {}, "stage_speed": {}, "failures_by_code": {}, **numbers}
        | {"failed": [FailedRecording(key=decode(id), fingerprint="0" * 32, failure=failure)]}
    )
    report.write(api.destination)


def test_every_state_is_returned_for_a_recording_and_in_lists(either: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Completed, Crashed, Pending, Running

    api = either
    with api.client("clerk") as client:
        names = ("queued", "running", "starting", "completed", "quarantined", "waiting", "crashed", "cancelled")
        ids = {name: sent(client, f"{name}.wav") for name in names}
        for name in names[1:]:
            run = entry(client, ids[name])["id"]
            match name:
                case "running" | "starting":
                    prefect.set_flow_run_state(run, Running() if name == "running" else Pending())
                case "completed":
                    api.finish(ids[name])
                    ended(prefect, run, Completed())
                case "quarantined":
                    quarantine(api, ids[name])
                    ended(prefect, run, Completed())
                case "waiting":
                    leave(api, ids[name], prefect.read_flow_run(UUID(run)))
                    ended(prefect, run, Completed())
                case "crashed":
                    ended(prefect, run, Crashed())
                case "cancelled":
                    client.delete(f"/v1/queue/{run}").raise_for_status()
        api.source.put_bytes("skipped.wav", sound())
        ids["skipped"] = encode("skipped.wav")
        wanted = {name: name for name in ids} | {"starting": "running", "quarantined": "failed"}
        wanted |= dict.fromkeys(("waiting", "crashed"), "failed")
        wait_for_a_fresh_queue(client, ids["cancelled"])

        assert {name: state(client, id) for name, id in ids.items()} == wanted
        listed = {one["id"]: one["state"] for one in client.get("/v1/recordings").json()["recordings"]}
        assert listed == {ids[name]: wanted[name] for name in ids}
        failed = client.get("/v1/recordings", params={"state": "failed"}).json()["recordings"]
        assert {one["id"] for one in failed} == {ids["quarantined"], ids["waiting"], ids["crashed"]}

        why = client.get(f"/v1/recordings/{ids['quarantined']}").json()["failure"]
        assert (why["code"], why["stage"]) == ("INPUT_CORRUPT", "prepare")
        assert why["remedy"] == ErrorCode.INPUT_CORRUPT.remedy
        why = client.get(f"/v1/recordings/{ids['waiting']}").json()["failure"]
        assert (why["code"], why["message"]) == ("OBJECT_DENIED", "It may not be read.")
        assert client.get(f"/v1/recordings/{ids['crashed']}").json()["failure"]["code"] == "RUN_LOST"
        assert entry(client, ids["starting"])["stage"] == "starting"
        assert entry(client, ids["running"])["stage"] == "ingest"


def wait_for_a_fresh_queue(client: httpx.Client, id: str) -> None:
    """The API caches the queue for a second; the tests, which act as the worker, are faster than that."""
    client.post(f"/v1/recordings/{id}")  # nothing: no such method

    time.sleep(1.1)


def test_pages_of_a_list_are_complete(either: Api) -> None:
    keys = sorted([f"calls/{number:03}.wav" for number in range(25)] + ["calls/a b.wav", "calls-b.wav", "ü.wav"])
    for key in [*keys, "calls/notes.txt", ".hidden/a.wav"]:
        either.source.put_bytes(key, sound())
    either.finish(encode("calls/007.wav"))
    found: dict[str, str] = {}
    cursor, pages = None, 0
    with either.client("reader") as client:
        while True:
            page = client.get("/v1/recordings", params={"limit": 10} | ({"cursor": cursor} if cursor else {})).json()
            assert len(page["recordings"]) <= 10
            assert not found.keys() & {one["key"] for one in page["recordings"]}
            found |= {one["key"]: one["state"] for one in page["recordings"]}
            cursor, pages = page["next_cursor"], pages + 1
            if cursor is None:
                break
        assert client.get("/v1/recordings", params={"cursor": "\u00fc"}).status_code == 422
    assert sorted(found) == keys
    assert pages >= 3
    assert {key for key, state in found.items() if state == "completed"} == {"calls/007.wav"}


def test_the_newest_upload_comes_first(api: Api) -> None:
    with api.client("clerk") as client:
        ids = [sent(client, f"{number}.wav") for number in range(3)]
        assert [one["id"] for one in client.get("/v1/recordings").json()["recordings"]] == ids[::-1]


def test_a_page_costs_one_page_of_listing(api_on_s3: Api) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: api_on_s3.source.put_bytes(f"{number:04}.wav", b"RIFF"), range(1500)))
    asked: list[int] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        asked.append(int(params["query_string"]["max-keys"]))

    with api_on_s3.client("reader") as client:
        client.get("/v1/queue").raise_for_status()
        events = process_client(os.getpid()).meta.events  # the API runs in this process
        events.register("before-call.s3.ListObjectsV2", note)
        try:
            page = client.get("/v1/recordings", params={"limit": 100}).raise_for_status().json()
            first = list(asked)
            search = client.get("/v1/recordings", params={"q": "no such", "limit": 100}).raise_for_status().json()
        finally:
            events.unregister("before-call.s3.ListObjectsV2", note)
    assert len(page["recordings"]) == 100
    assert len(first) == 2  # one listing of the source, one of the receipts
    assert sum(first) <= 400
    # A search without matches reads a thousand keys, and returns where to continue.
    assert search["recordings"] == []
    assert search["next_cursor"]
    assert sum(asked[2:]) <= 2500


def test_a_search_finds_names_and_continues(either: Api) -> None:
    for number in range(30):
        either.source.put_bytes(f"calls/{'Réunion' if number % 10 == 7 else 'call'} {number:02}.wav", sound())
    with either.client("clerk") as client:
        uploaded = sent(client, "réunion 99.wav")
        token = decode(uploaded).partition("/")[0]
        found, cursor = list[str](), None
        for _ in range(10):
            query: dict[str, Any] = {"q": "RÉUNION", "limit": 2} | ({"cursor": cursor} if cursor else {})
            page = client.get("/v1/recordings", params=query).json()
            found += [one["name"] for one in page["recordings"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        names = {"réunion 99.wav", "Réunion 07.wav", "Réunion 17.wav", "Réunion 27.wav"}
        assert sorted(found) == sorted(names)
        # A search ignores the folder of an upload.
        assert client.get("/v1/recordings", params={"q": token}).json()["recordings"] == []
        both = client.get("/v1/recordings", params={"q": "call", "state": "skipped", "limit": 500}).json()
        assert (len(both["recordings"]), both["next_cursor"]) == (30, None)


def test_a_recording_can_be_fetched_whole_or_in_part(either: Api) -> None:
    data = sound() + bytes(range(256)) * 9000
    with either.client("clerk") as client:
        id = client.post("/v1/recordings", files={"file": ("a.wav", data)}).json()["id"]
        address = f"/v1/recordings/{id}/audio"
        whole = client.get(address)
        assert (whole.status_code, whole.content, whole.headers["Accept-Ranges"]) == (200, data, "bytes")
        assert whole.headers["content-type"].startswith("audio/")
        for asked, first, last in (
            ("bytes=0-99", 0, 99),
            ("bytes=1000-", 1000, len(data) - 1),
            ("bytes=-10", len(data) - 10, len(data) - 1),
            (f"bytes=5-{10**15}", 5, len(data) - 1),
        ):
            part = client.get(address, headers={"Range": asked})
            assert (part.status_code, part.content) == (206, data[first : last + 1]), asked
            assert part.headers["Content-Range"] == f"bytes {first}-{last}/{len(data)}"
        assert client.get(address, headers={"Range": f"bytes={len(data)}-"}).status_code == 416
        for unknown in ("bytes=0-1,5-6", "pages=1-2", "bytes=-"):
            assert client.get(address, headers={"Range": unknown}).status_code == 200
        either.source.put_bytes("page.html.wav", b"<script>")
        assert "html" not in client.get(f"/v1/recordings/{encode('page.html.wav')}/audio").headers["content-type"]
        # The media type of a page is never returned.
        assert client.get(f"/v1/recordings/{encode('page.html')}/audio").status_code == 404


def test_options_include_everything_that_a_form_needs(api: Api) -> None:
    with api.client("reader") as client:
        choices = client.get("/v1/options").raise_for_status().json()
    assert set(choices["options"]["properties"]) == set(TranscriptionOptions.model_fields)
    assert choices["options"]["properties"]["beam_size"]["maximum"] == 20
    assert (choices["defaults"], choices["languages"]["de"]) == ({"model": "base"}, "german")
    assert choices["formats"] == list(FORMATS)
    assert choices["source"] == api.source.uri


def test_a_transcript_is_available_in_every_format(either: Api) -> None:
    with either.client("clerk") as client:
        id = sent(client)
        address = f"/v1/recordings/{id}/transcript"
        early = client.get(address)
        assert (early.status_code, early.json()["code"]) == (409, "NOT_COMPLETED")
        either.finish(id)
        for format in FORMATS:
            stored = either.destination.get_bytes(receipts.output_key(decode(id), format))
            answer = client.get(address, params={"format": format})
            assert (answer.status_code, answer.content) == (200, stored)
            assert answer.headers["content-type"] == CONTENT_TYPES[format]
            if format != "rttm":
                accepted = client.get(address, headers={"Accept": CONTENT_TYPES[format].partition(";")[0]})
                assert accepted.content == stored
        assert client.get(address).headers["content-type"] == "application/json"
        assert client.get(address, headers={"Accept": "image/png, text/vtt;q=0.5"}).text.startswith("WEBVTT")
        assert client.get(address, headers={"Accept": "image/png"}).status_code == 406
        assert "sandbox" in client.get(address, params={"format": "html"}).headers["Content-Security-Policy"]

        either.destination.delete(receipts.output_key(decode(id), "srt"))
        made_now = client.get(address, params={"format": "srt"})
        assert "00:00:00,500 --> " in made_now.text


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_subtitles_have_the_requested_style(api: Api, format: Format) -> None:
    with api.client("clerk") as client:
        id = sent(client)
        address = f"/v1/recordings/{id}/transcript"
        api.finish(id)
        stored = client.get(address, params={"format": format}).text
        for style in STYLES:
            answer = client.get(address, params={"format": format, **style}).raise_for_status().text
            assert answer == render(conversation(), format, SubtitleOptions.model_validate(style))
            assert answer != stored
        assert client.get(address, params={"format": format}).text == stored
        assert client.get(address, params={"format": "txt", "max_line_width": 9}).status_code == 200
        wrong = client.get(address, params={"format": format, "max_line_count": 0})
        assert (wrong.status_code, "max_line_count" in wrong.text) == (422, True)


def test_a_transcript_leaves_no_temporary_file(api: Api) -> None:
    from stenopool.settings import get_settings

    with api.client("clerk") as client:
        id = sent(client)
        api.finish(id)
        client.get(f"/v1/recordings/{id}/transcript").raise_for_status()
    # It is removed after everything was sent, which the client may receive earlier.
    folder = get_settings().scratch.dir
    wait_until(lambda: not list(folder.glob("stenopool-transcript-*")), "the temporary file is deleted", seconds=10)


def test_retry_submits_a_failed_recording_with_its_options(api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Completed

    with api.client("clerk") as client:
        id = sent(client, options='{"language": "de"}')
        first = entry(client, id)["id"]
        quarantine(api, id)
        ended(prefect, first, Completed())
        wait_for_a_fresh_queue(client, id)
        assert state(client, id) == "failed"
        again = client.post(f"/v1/recordings/{id}/retry")
        assert (again.status_code, again.json()["state"]) == (202, "queued")
        assert client.post(f"/v1/recordings/{id}/retry").json()["queue"]["id"] == again.json()["queue"]["id"] != first
        run = prefect.read_flow_run(again.json()["queue"]["id"])
        assert run.parameters["options"] == {"language": "de"}
        assert run.parameters["retry"] == []


def test_retry_of_all_failed_recordings(api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Completed, Crashed

    with api.client("boss") as client:
        quarantined, crashed, done, deleted = (sent(client, f"{name}.wav") for name in ("q", "c", "d", "gone"))
        runs = {id: entry(client, id)["id"] for id in (quarantined, crashed, done, deleted)}
        for id in (quarantined, deleted):
            quarantine(api, id)
        ended(prefect, runs[deleted], Completed())
        api.source.delete(decode(deleted))
        api.finish(done)
        ended(prefect, runs[quarantined], Completed())
        ended(prefect, runs[crashed], Crashed())
        ended(prefect, runs[done], Completed())
        wait_for_a_fresh_queue(client, done)
        assert client.post("/v1/queue/retry").json() == {"count": 2}
        assert {one["recording"] for one in client.get("/v1/queue").json()["entries"]} == {quarantined, crashed}
        assert state(client, done) == "completed"
        left = receipts.list_receipts(api.destination, prefix=receipts.receipt_stem(decode(deleted)))
        assert list(left) == [], "what was deleted is quarantined for ever"


def test_delete_removes_everything_made_from_a_recording_and_nothing_else(either: Api) -> None:
    api = either
    with api.client("clerk") as client:
        ids = [sent(client, name) for name in ("a.wav", "b.wav")]
        for id in ids:
            api.finish(id)
        key = decode(ids[0])
        inside = f"{key}/transcript.d/b.wav"  # another recording may have this name
        for other in (receipts.output_key(inside, "json"), work_key("f" * 32, "prepare.v1.json")):
            api.destination.put_bytes(other, b"{}")
        work = next(name.fingerprint for name in receipts.list_receipts(api.destination) if name.key == key)
        api.destination.put_bytes(work_key(work, "audio.flac"), b"audio")
        kept = {info.key for info in api.destination.list() if decode(ids[1]) in info.key or "%2F" not in info.key}
        kept = {one for one in kept if not one.startswith((f"{key}/transcript.", f".work/{work}"))} | {
            receipts.output_key(inside, "json")
        }

        assert client.delete(f"/v1/recordings/{ids[0]}").status_code == 204
        assert api.keys() == [decode(ids[1])]
        left = {info.key for info in api.destination.list()}
        assert left == kept | {info.key for info in api.destination.list(receipts.receipt_stem(decode(ids[1])))}
        assert [one["recording"] for one in client.get("/v1/queue").json()["entries"]] == [ids[1]]
        for answer in (client.delete(f"/v1/recordings/{ids[0]}"), client.get(f"/v1/recordings/{ids[0]}")):
            assert answer.status_code == 404


def test_delete_removes_checkpoints_of_a_failed_run(api: Api) -> None:
    with api.client("clerk") as client:
        id = sent(client, options='{"language": "de"}')
        api.finish(id, TranscriptionOptions(language="de"))
        (name,) = receipts.list_receipts(api.destination)
        (receipt,) = api.destination.list(".receipts/")
        api.destination.delete(receipt.key)  # as if the run had not got this far
        api.destination.put_bytes(work_key(name.fingerprint, "audio.flac"), b"audio")
        client.delete(f"/v1/recordings/{id}").raise_for_status()
    assert list(api.destination.list()) == []


def test_a_recording_whose_options_are_no_longer_allowed_is_not_retried_and_can_be_deleted(
    api: Api, prefect: "SyncPrefectClient"
) -> None:
    from prefect.states import Crashed

    old = {"vocabulary": ["x"] * 600}
    with api.client("boss") as client:
        form = {"options": json.dumps(old)}
        given = client.post("/v1/recordings", files={"file": ("a.wav", sound())}, data=form)
        assert (given.status_code, "remove some" in given.text) == (422, True)
        ids = [sent(client, name) for name in ("old.wav", "new.wav")]
        for id, parameters in zip(ids, ({"options": old}, {}), strict=True):
            run = entry(client, id)["id"]
            prefect.update_flow_run(run, parameters=prefect.read_flow_run(run).parameters | parameters)
            ended(prefect, run, Crashed())
        wait_for_a_fresh_queue(client, ids[0])
        refused = client.post(f"/v1/recordings/{ids[0]}/retry")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "vocabulary")
        assert client.post("/v1/queue/retry").json() == {"count": 1}
        key = api.source.head(decode(ids[0]))
        work = fingerprint(key, TranscriptionOptions.model_validate(old, context=STORED))
        api.destination.put_bytes(work_key(work, "audio.flac"), b"audio")
        client.delete(f"/v1/recordings/{ids[0]}").raise_for_status()
    assert list(api.destination.list()) == []


@pytest.mark.parametrize("end", ["completed", "failed", "crashed", "cancelled", "cleared", "deleted while it waits"])
def test_the_same_object_sent_again_is_transcribed_again(
    api_on_s3: Api, prefect: "SyncPrefectClient", end: str
) -> None:
    """Its ETag, and therefore its fingerprint, is the same; Prefect still has the earlier run."""
    from prefect.states import Cancelled, Completed, Crashed, Failed

    api, ends = api_on_s3, {"completed": Completed, "failed": Failed, "crashed": Crashed, "cancelled": Cancelled}
    key, runs = "calls/a.wav", []
    with api.client("clerk") as clerk, api.client("boss") as boss:
        for _ in range(4):
            api.source.put_bytes(key, sound())
            answers = [clerk.post("/v1/recordings", json={"uri": api.source.uri_of(key)}) for _ in range(2)]
            assert [answer.raise_for_status().json()["state"] for answer in answers] == ["queued", "queued"]
            id = answers[0].json()["id"]
            runs.append(entry(clerk, id)["id"])
            if end == "completed":
                api.finish(id)
            if end in ends:
                ended(prefect, runs[-1], ends[end]())
            if end == "cleared":
                boss.delete("/v1/queue").raise_for_status()
            if end in ("completed", "deleted while it waits"):
                wait_for_a_fresh_queue(clerk, id)
                clerk.delete(f"/v1/recordings/{id}").raise_for_status()
    assert len(set(runs)) == 4


def test_the_same_object_with_other_options_in_between_starts_no_run_twice(
    api_on_s3: Api, prefect: "SyncPrefectClient"
) -> None:
    from prefect.states import Cancelled

    def send(client: httpx.Client, language: str) -> None:
        body = {"uri": api_on_s3.source.uri_of("a.wav"), "options": {"language": language}}
        client.post("/v1/recordings", json=body).raise_for_status()

    api_on_s3.source.put_bytes("a.wav", sound())
    with api_on_s3.client("clerk") as client:
        send(client, "de")
        ended(prefect, client.get("/v1/queue").json()["entries"][0]["id"], Cancelled())
        for language in ("de", "en", "de", "en"):
            send(client, language)
        time.sleep(1.1)  # the API caches the queue this long
        assert len(client.get("/v1/queue").json()["entries"]) == 2


def test_a_recording_in_progress_is_not_deleted(api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Running

    with api.client("clerk") as client:
        id = sent(client)
        prefect.set_flow_run_state(entry(client, id)["id"], Running())
        answer = client.delete(f"/v1/recordings/{id}")
        assert (answer.status_code, answer.json()["code"]) == (409, "RECORDING_BUSY")
    assert api.keys() == [decode(id)]


@pytest.mark.parametrize(
    "key", ["../destination/a.wav", ".receipts/a.wav", "a/../../b.wav", "notes.txt", "/etc/passwd", "", "a\0.wav"]
)
def test_invalid_ids_reach_nothing(key: str, shared: Shared) -> None:
    id = encode(key) or "x"
    with shared.api.client() as client:
        for answer in (
            client.get(f"/v1/recordings/{id}"),
            client.get(f"/v1/recordings/{id}/transcript"),
            client.post(f"/v1/recordings/{id}/retry"),
            client.delete(f"/v1/recordings/{id}"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "OBJECT_NOT_FOUND")
