"""One summary artifact per run, for whoever looks at it in Prefect's page."""

from urllib.parse import quote

from prefect.artifacts import acreate_markdown_artifact

from stenopool.pipeline.outcomes import FailedRecording, ShardLog, fold
from stenopool.pipeline.receipts import output_key
from stenopool.pipeline.report import BatchReport
from stenopool.pipeline.shards import Shard
from stenopool.settings import get_settings
from stenopool.speech.clock_text import format_duration
from stenopool.storage.base import ObjectStore

_MOST_ROWS = 200


async def shard_summary(flow: str, shard: Shard, log: ShardLog, destination: ObjectStore | None = None) -> None:
    """What a run over one shard came to. With ``destination``: where its transcripts are."""
    failed = fold([log]).failed
    lines = [
        f"# {flow}: shard {shard.number} of {cell(shard.batch)}",
        f"{len(shard.items)} recordings, {len(failed)} failed.",
        *_failures(failed),
        *(_transcripts(log, destination) if destination else []),
    ]
    await acreate_markdown_artifact("\n\n".join(lines), key=f"{flow}-summary")


async def batch_summary(report: BatchReport) -> None:
    """What a batch came to."""
    facts = {
        "new": report.new,
        "done": report.done,
        "quarantined": report.quarantined,
        "left for the next run": report.deferred,
        "done before": report.already_done,
        "in quarantine before": report.in_quarantine,
        "hours of audio": f"{report.audio_seconds / 3600:.2f}",
        "speed": f"{report.realtime_factor:.1f} × real time",
        "device busy / load / idle": " / ".join(
            f"{report.device_seconds.get(kind, 0.0):.0f} s" for kind in ("busy", "load", "idle")
        ),
        **({"cost": f"{report.cost:.2f}"} if report.cost else {}),
        **({"cost per hour of audio": f"{report.cost_per_audio_hour:.4f}"} if report.cost_per_audio_hour else {}),
    }
    table = "\n".join(["| | |", "| --- | ---: |", *(f"| {name} | {value} |" for name, value in facts.items())])
    speeds = "\n".join(f"* {stage}: {speed:.1f} × real time" for stage, speed in report.stage_speed.items())
    parts = [f"# {cell(report.source)} → {cell(report.destination)}", table, speeds, *_failures(report.failed)]
    await acreate_markdown_artifact("\n\n".join(part for part in parts if part), key="ingest-summary")


def _transcripts(log: ShardLog, destination: ObjectStore) -> list[str]:
    rows = [
        f"| {cell(outcome.key)} | {format_duration(outcome.duration or 0.0)} "
        f"| [open]({_address(destination, outcome.key)}) |"
        for outcome in log.outcomes
        if outcome.status in ("done", "rendered")
    ]
    return _table("| recording | length | transcript |\n| --- | ---: | --- |", rows)


def _failures(failed: list[FailedRecording]) -> list[str]:
    rows = [f"| {cell(one.key)} | {one.failure.code} | {cell(one.failure.message)} |" for one in failed]
    return _table("| recording | code | what happened |\n| --- | --- | --- |", rows, " in failed.jsonl")


def _table(head: str, rows: list[str], where: str = "") -> list[str]:
    """Paragraphs: the first rows, and how many more there are; none without rows."""
    more = [f"{len(rows) - _MOST_ROWS} more{where}."] if len(rows) > _MOST_ROWS else []
    return ["\n".join([head, *rows[:_MOST_ROWS]]), *more] if rows else []


def _address(destination: ObjectStore, recording: str) -> str:
    """A page that a browser can open, else the address. Never a signed one: whoever may see the run could use it."""
    key = output_key(recording, "html")
    base = get_settings().links.base
    return f"{base.rstrip('/')}/{quote(key)}" if base else quote(destination.uri_of(key), safe=":/%")


def cell(text: str) -> str:
    """Somebody else's text in a table: no markup, no line ends, no cell ends."""
    shown = "".join(c if c.isprintable() else " " for c in text)  # nor what turns the direction of writing
    escaped = "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!|<>~&$" else c for c in " ".join(shown.split()))
    return escaped or " "
