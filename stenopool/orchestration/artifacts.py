"""One summary artifact per run, for the Prefect UI."""

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
    """Publish the result of a run over one shard. With ``destination``: links to its transcripts."""
    failed = fold([log]).failed
    lines = [
        f"# {flow}: shard {shard.number} of {cell(shard.batch)}",
        f"{len(shard.items)} recordings, {len(failed)} failed.",
        *_failures(failed),
        *(_transcripts(log, destination) if destination else []),
    ]
    await acreate_markdown_artifact("\n\n".join(lines), key=f"{flow}-summary")


async def batch_summary(report: BatchReport) -> None:
    """Publish the result of a batch."""
    facts = {
        "new": report.new,
        "done": report.done,
        "quarantined": report.quarantined,
        "deferred to the next run": report.deferred,
        "already done": report.already_done,
        "already in quarantine": report.in_quarantine,
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
    return _table("| recording | duration | transcript |\n| --- | ---: | --- |", rows)


def _failures(failed: list[FailedRecording]) -> list[str]:
    rows = [f"| {cell(one.key)} | {one.failure.code} | {cell(one.failure.message)} |" for one in failed]
    return _table("| recording | code | message |\n| --- | --- | --- |", rows, " in failed.jsonl")


def _table(head: str, rows: list[str], where: str = "") -> list[str]:
    """A table with the first rows, and a line with the number of further rows; empty without rows."""
    more = [f"{len(rows) - _MOST_ROWS} more{where}."] if len(rows) > _MOST_ROWS else []
    return ["\n".join([head, *rows[:_MOST_ROWS]]), *more] if rows else []


def _address(destination: ObjectStore, recording: str) -> str:
    """A page that a browser can open, else the object's address. Never a signed address, which any viewer of the run
    could use.
    """
    key = output_key(recording, "html")
    base = get_settings().links.base
    return f"{base.rstrip('/')}/{quote(key)}" if base else quote(destination.uri_of(key), safe=":/%")


def cell(text: str) -> str:
    """Escape untrusted text for a table cell: no markup, line breaks or cell separators."""
    shown = "".join(c if c.isprintable() else " " for c in text)  # nor marks of text direction
    escaped = "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!|<>~&$" else c for c in " ".join(shown.split()))
    return escaped or " "
