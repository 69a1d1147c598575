"""Pending callbacks as two processes see them, and what someone who reads the destination can learn from them."""

import json
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, MultiFernet

from stenopool.api.callbacks.outbox import Callback, Outbox, TooManyPending, Unreadable
from stenopool.api.callbacks.sending import Sender, new_secret
from stenopool.pipeline.receipts import CALLBACKS
from stenopool.settings import CallbackSettings
from stenopool.storage import ObjectStore, open_store

SECRET = "hunter2-in-the-address"
URL = f"https://a.example/hook?token={SECRET}"
_CIPHER = MultiFernet([Fernet(Fernet.generate_key())])


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path))


def outbox(store: ObjectStore, most: int = 100) -> Outbox:
    return Outbox(store, _CIPHER, most)


def test_an_attempt_after_an_outdated_listing_is_not_made(store: ObjectStore) -> None:
    box = outbox(store)
    box.put(Callback(url="https://a.example", key="a"))
    ours, theirs = box.pending(), box.pending()
    assert box.claim(ours[0])
    assert not box.claim(theirs[0])
    box.remove(ours[0].id)
    assert not box.claim(theirs[0])
    assert list(store.list(CALLBACKS)) == []


def test_an_attempt_is_due_after_a_pause_and_not_while_one_may_be_in_progress(store: ObjectStore) -> None:
    box = outbox(store)
    box.put(Callback(url="https://a.example", key="a"))
    (one,) = box.pending()
    assert one.is_due(pause=60, longest=60)
    box.claim(one)
    (running,) = box.pending()
    assert not running.is_due(pause=0, longest=60)
    assert running.is_due(pause=60, longest=0)
    box.mark_failed(one, "HTTP 503")
    (failed,) = box.pending()
    assert failed.is_due(pause=0, longest=60)
    assert not failed.is_due(pause=60, longest=0)
    assert box.read_failure(failed) == "HTTP 503"


def test_requests_are_encrypted_in_the_destination(store: ObjectStore) -> None:
    box = outbox(store)
    callback = Callback(url=URL, key="calls/a.wav", owner="front-desk")
    box.put(callback)
    box.claim(box.pending()[0])
    box.mark_failed(box.pending()[0], "HTTP 503")
    for info in store.list():
        for planted in (SECRET, "a.example", "front-desk"):
            assert planted.encode() not in store.get_bytes(info.key), info.key
            assert planted not in info.key
    assert box.read(callback.id) == callback


def test_requests_of_earlier_versions_are_still_read(store: ObjectStore) -> None:
    """Plain JSON without a key's name, as written by version 0.1.0 of November 2026."""
    id = "faa171e8bbe35e8b25ae8ee84520e66d"
    assert Callback(url=URL, key="calls/a.wav", work="0" * 32).id == id
    old = {"event": "msg_1", "url": URL, "key": "calls/a.wav", "work": "0" * 32, "run": None}
    content = json.dumps(old | {"asked_at": "2026-11-29T10:00:00Z"}, separators=(",", ":"))
    store.put_bytes(f"{CALLBACKS}{id}/request.json", content.encode())
    (pending,) = outbox(store).pending()
    read = outbox(store).read(pending.id)
    assert read
    assert (read.url, read.event) == (URL, "msg_1")


def test_secrets_can_be_rotated_while_callbacks_are_pending(
    store: ObjectStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("secrets") / "secrets"
    old, new = new_secret(), new_secret()

    def box(*secrets: str) -> Outbox:
        path.write_text("\n".join(secrets))
        return Outbox(store, Sender(CallbackSettings(secrets=path)).cipher, 100)

    callback = Callback(url=URL, key="a")
    box(old).put(callback)
    assert box(new, old).read(callback.id) == callback
    with pytest.raises(Unreadable):
        box(new).read(callback.id)


def test_forged_and_copied_requests_are_rejected(store: ObjectStore) -> None:
    box, callback = outbox(store), Callback(url=URL, key="a")
    box.put(callback)
    written = store.get_bytes(f"{CALLBACKS}{callback.id}/request.json")
    strangers = MultiFernet([Fernet(Fernet.generate_key())]).encrypt(callback.model_dump_json().encode())
    for id, content in {
        "0" * 32: written,
        "1" * 32: strangers,
        "2" * 32: b"{}",
        "3" * 32: b"",
        "4" * 32: b"\xff",
    }.items():
        store.put_bytes(f"{CALLBACKS}{id}/request.json", content)
        with pytest.raises(Unreadable):
            box.read(id)


def test_a_key_has_a_maximum_number_of_pending_callbacks(store: ObjectStore) -> None:
    box = outbox(store, most=3)
    box.pending()
    for number in range(3):
        box.put(Callback(url=URL, key=str(number), owner="greedy"))
    for _ in range(2):  # before a listing has shown them, and after
        with pytest.raises(TooManyPending):
            box.put(Callback(url=URL, key="3", owner="greedy"))
        box.put(Callback(url=URL, key="2", owner="greedy"))  # repeating a request adds none
        box.put(Callback(url=URL, key="0", owner="honest"))
        box.pending()
    box.remove(Callback(url=URL, key="0", owner="greedy").id)
    box.pending()
    box.put(Callback(url=URL, key="3", owner="greedy"))
    assert len(box.pending()) == 4


def test_given_up_callbacks_are_kept_for_a_while_and_can_be_renewed(store: ObjectStore) -> None:
    box = outbox(store, most=1)
    callback = Callback(url=URL, key="a", owner="key")
    box.put(callback)
    (one,) = box.pending()
    box.claim(one)
    box.give_up(one, "HTTP 410")
    (given_up,) = box.pending()
    assert (given_up.given_up, given_up.is_old, given_up.count) == (True, False, 1)
    assert not given_up.is_due(pause=0, longest=0)
    assert box.read_failure(given_up) == "HTTP 410"
    other = Callback(url=URL, key="b", owner="key")
    box.put(other)  # given-up callbacks do not count as pending
    box.give_up(next(each for each in box.pending() if each.id == other.id), "HTTP 410")
    assert [each.id for each in box.pending()] == [callback.id]  # but their number per key is limited too
    box.renew(callback)
    (again,) = box.pending()
    assert again.is_due(pause=60, longest=60)
