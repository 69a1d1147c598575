"""What is pending, seen by two processes at once."""

from pathlib import Path

from stenopool.api.callbacks.outbox import Callback, Outbox
from stenopool.pipeline.receipts import CALLBACKS
from stenopool.storage import open_store


def test_a_try_after_a_listing_that_is_out_of_date_is_not_made(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    outbox = Outbox(store)
    outbox.put(Callback(url="https://a.example", key="a"))
    ours, theirs = outbox.pending(), outbox.pending()
    assert outbox.claim(ours[0])
    assert not outbox.claim(theirs[0])
    outbox.remove(ours[0].id)
    assert not outbox.claim(theirs[0])
    assert list(store.list(CALLBACKS)) == []


def test_one_that_may_be_under_way_is_not_due_and_one_that_failed_is_after_its_pause(tmp_path: Path) -> None:
    outbox = Outbox(open_store(str(tmp_path)))
    outbox.put(Callback(url="https://a.example", key="a"))
    (one,) = outbox.pending()
    assert one.is_due(pause=60, longest=60)
    outbox.claim(one)
    (under_way,) = outbox.pending()
    assert not under_way.is_due(pause=0, longest=60)
    assert under_way.is_due(pause=60, longest=0)
    outbox.mark_failed(one, "HTTP 503")
    (failed,) = outbox.pending()
    assert failed.is_due(pause=0, longest=60)
    assert not failed.is_due(pause=60, longest=0)
