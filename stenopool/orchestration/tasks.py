"""Each stage as a Prefect task, and batches of recordings carried through them."""

from collections.abc import Sequence

from stenopool.errors import ErrorCode, TransientError
from stenopool.orchestration.running import as_they_are, attempt, side_by_side, stage_task
from stenopool.pipeline.report import read_result
from stenopool.pipeline.run import Run
from stenopool.pipeline.shards import Shard, WorkItem
from stenopool.pipeline.stages import prepare as stages
from stenopool.pipeline.stages import publish, speech
from stenopool.pipeline.stages.publish import quarantine, render_missing

fetch = stage_task("fetch", stages.fetch)
normalize = stage_task("normalize", stages.normalize)
store = stage_task("store", stages.store)
render = stage_task("render", render_missing)
quarantine_failed = stage_task("quarantine", quarantine)


fetch_audio = stage_task("fetch audio", speech.fetch_audio)
load_models = stage_task("load models", speech.load)
transcribe_speech = stage_task("transcribe", speech.transcribe)
align = stage_task("align", speech.align)
diarize = stage_task("diarize", speech.diarize)
assign_speakers = stage_task("assign speakers", publish.assign)
upload = stage_task("upload", publish.upload)
receipt = stage_task("receipt", publish.receipt)


async def made_ready(run: Run, items: Sequence[WorkItem]) -> None:
    """A batch's audio, fetched, normalized and stored."""
    await side_by_side(attempt(fetch, run, items), attempt(normalize, run, items), attempt(store, run, items))


async def rendered(run: Run, items: Sequence[WorkItem]) -> None:
    """Formats that finished recordings lack. One more format is no speech work: it never needs a GPU."""
    to_be_heard = [item for item in items if "html" in item.formats]
    await side_by_side(attempt(fetch, run, to_be_heard), attempt(normalize, run, to_be_heard))
    await attempt(render, run, items)


async def quarantined(run: Run, items: Sequence[WorkItem]) -> None:
    """Those that something is wrong with, put aside."""
    if failed := run.failed(items):
        await quarantine_failed(as_they_are(failed), f"{len(failed)} recordings")


async def transcribed(run: Run, items: Sequence[WorkItem]) -> None:
    """A batch from prepared audio to receipts."""
    await side_by_side(
        attempt(fetch_audio, run, items),
        attempt(transcribe_speech, run, items),
        *([attempt(align, run, items)] if "align" in speech.speech_stages(run) else []),
        *([attempt(diarize, run, items)] if "diarize" in speech.speech_stages(run) else []),
        attempt(assign_speakers, run, items),
        attempt(upload, run, items),
        attempt(receipt, run, items),
    )
    await quarantined(run, items)


def find_prepared(run: Run, shard: Shard) -> tuple[list[WorkItem], list[WorkItem]]:
    """The items that are this run's, their length now exact, and of those the ones whose audio is in the work area."""
    durations = read_result(run.destination, shard, "prepare").durations
    expected = [
        item.model_copy(update={"seconds": durations[item.fingerprint]})
        for item in shard.items
        if item.fingerprint in durations and not item.formats
    ]
    for item in expected:
        # An attempt before this one, or another run, has brought it to its end.
        if not run.work(item).has("prepare") and not run.leave(item):
            run.fail(item, TransientError(ErrorCode.RUN_LOST, "Its prepared audio is gone.").failure("fetch audio"))
    return expected, run.sound(expected)
