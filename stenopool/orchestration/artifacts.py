"""One summary artifact per run, for whoever looks at it in Prefect's page."""

from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

from prefect import runtime
from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact
from prefect.client.orchestration import get_client

from stenopool.orchestration.names import PROGRESS
from stenopool.pipeline.outcomes import FailedRecording, ShardLog
from stenopool.pipeline.receipts import output_key
from stenopool.pipeline.report import BatchReport
from stenopool.pipeline.shards import Plan, Shard
from stenopool.pipeline.totals import Totals, fold
from stenopool.settings import get_settings
from stenopool.speech.clock_text import format_duration
from stenopool.storage.base import ObjectStore

_MOST_ROWS = 200


@dataclass
class Progress:
    """How far a batch is: a bar in Prefect's page, and the number of shards in the run's name."""

    source: str
    plan: Plan
    artifact: UUID

    @classmethod
    async def start(cls, source: str, plan: Plan) -> "Progress":
        artifact = await acreate_progress_artifact(0.0, key=PROGRESS, description=f"Recordings of {_cell(source)}")
        return cls(source, plan, artifact)

    async def update(self, resumed: Totals, planned: Totals) -> None:
        """The share of what is planned so far; listing may still continue."""
        ended = _count_ended(resumed) + _count_ended(planned)
        expected = max(ended, self.plan.counts["new"] + _count_ended(resumed))
        await self._show(resumed.shards + planned.shards, 100.0 * ended / expected if expected else 0.0)

    async def finish(self, totals: Totals) -> None:
        await self._show(totals.shards, 100.0)

    async def _show(self, shards: int, percent: float) -> None:
        await aupdate_progress_artifact(self.artifact, percent)
        counted = f"{shards} shard{'s' if shards != 1 else ''}"
        async with get_client() as client:
            await client.update_flow_run(runtime.flow_run.id, name=f"ingest {short(self.source)} → {counted}")


def _count_ended(totals: Totals) -> int:
    return totals.ends["done"] + totals.ends["skipped"] + len(totals.failed)


def short(location: str) -> str:
    """An address without its scheme, for names."""
    return location.partition("://")[2] or location


async def shard_summary(flow: str, shard: Shard, log: ShardLog, destination: ObjectStore | None = None) -> None:
    """What a run over one shard came to. With ``destination``: where its transcripts are."""
    failed = fold([log]).failed
    lines = [
        f"# {flow}: shard {shard.number} of {_cell(shard.batch)}",
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
    parts = [f"# {_cell(report.source)} → {_cell(report.destination)}", table, speeds, *_failures(report.failed)]
    await acreate_markdown_artifact("\n\n".join(part for part in parts if part), key="ingest-summary")


def _transcripts(log: ShardLog, destination: ObjectStore) -> list[str]:
    rows = [
        f"| {_cell(outcome.key)} | {format_duration(outcome.duration or 0.0)} "
        f"| [open]({_address(destination, outcome.key)}) |"
        for outcome in log.outcomes
        if outcome.status in ("done", "rendered")
    ]
    return _table("| recording | length | transcript |\n| --- | ---: | --- |", rows)


def _failures(failed: list[FailedRecording]) -> list[str]:
    rows = [f"| {_cell(one.key)} | {one.failure.code} | {_cell(one.failure.message)} |" for one in failed]
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


def _cell(text: str) -> str:
    """Somebody else's text in a table: no markup, no line ends, no cell ends."""
    shown = "".join(c if c.isprintable() else " " for c in text)  # nor what turns the direction of writing
    escaped = "".join(f"\\{c}" if c in r"\`*_{}[]()#+-.!|<>~&$" else c for c in " ".join(shown.split()))
    return escaped or " "
