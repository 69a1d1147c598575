"""What a batch came to: counts, hours, speed, failures by code."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from stenopool.pipeline.context import RunContext
from stenopool.pipeline.outcomes import FailedRecording
from stenopool.pipeline.plan import Plan
from stenopool.pipeline.receipts import BATCHES
from stenopool.pipeline.totals import Totals
from stenopool.storage.base import ObjectStore


class BatchReport(BaseModel):
    """What a batch came to; ``report.json``."""

    batch: str
    source: str
    destination: str
    options: dict[str, Any]
    started_at: datetime
    finished_at: datetime
    seconds: float
    new: int
    already_done: int
    rendered: int = 0
    in_quarantine: int
    done: int
    quarantined: int
    deferred: int
    audio_seconds: float
    realtime_factor: float
    stage_seconds: dict[str, float]
    stage_speed: dict[str, float]
    device_seconds: dict[str, float] = Field(default_factory=dict)
    cost: float = 0.0
    cost_per_audio_hour: float | None = None
    failures_by_code: dict[str, int]
    failed: list[FailedRecording]

    @classmethod
    def of(
        cls, run: RunContext, plan: Plan, resumed: Totals, planned: Totals, batch: str, started_at: datetime
    ) -> "BatchReport":
        """Sum up what the listing found and what the shards' logs say.

        ``resumed``: shards that an earlier attempt at this run had begun. They ended before the listing, which found
        their recordings done or quarantined.
        """
        totals = Totals.total((resumed, planned))
        finished_at = datetime.now(UTC)
        seconds = (finished_at - started_at).total_seconds()
        failed = [*plan.unusable, *totals.failed]
        audio, cost = totals.audio_seconds, totals.cost
        return cls(
            batch=batch,
            source=run.source.address,
            destination=run.destination.uri,
            options=run.options.model_dump(mode="json"),
            started_at=started_at,
            finished_at=finished_at,
            seconds=seconds,
            new=plan.counts["new"] - totals.ends["skipped"] + resumed.ends["done"] + resumed.ends["quarantined"],
            already_done=plan.counts["done"] + plan.counts["render"] + totals.ends["skipped"] - resumed.ends["done"],
            rendered=totals.ends["rendered"],
            in_quarantine=plan.counts["quarantined"] - len(plan.unusable) - resumed.ends["quarantined"],
            done=totals.ends["done"],
            quarantined=sum(one.quarantined for one in failed),
            deferred=sum(not one.quarantined for one in failed),
            audio_seconds=audio,
            realtime_factor=audio / seconds if seconds else 0.0,
            stage_seconds=dict(totals.stage_seconds),
            stage_speed={
                stage: audio / totals.stage_seconds[stage]
                for stage, audio in totals.stage_audio.items()
                if audio and totals.stage_seconds[stage]
            },
            device_seconds=dict(totals.device_seconds),
            cost=round(cost, 4),
            cost_per_audio_hour=round(cost / audio * 3600, 4) if audio else None,
            failures_by_code=dict(Counter(str(one.failure.code) for one in failed)),
            failed=failed,
        )

    @property
    def complete(self) -> bool:
        """Whether nothing is pending: everything is done or quarantined."""
        return self.deferred == 0

    def write(self, destination: ObjectStore) -> None:
        """Write ``report.json``, ``failed.jsonl`` and, when nothing is pending, ``_SUCCESS``."""
        folder = f"{BATCHES}{self.batch}/"
        lines = "".join(failed.model_dump_json() + "\n" for failed in self.failed)
        destination.put_bytes(folder + "failed.jsonl", lines.encode(), content_type="application/jsonl")
        report = self.model_dump_json(indent=1).encode()
        destination.put_bytes(folder + "report.json", report, content_type="application/json")
        if self.complete:
            destination.put_bytes(folder + "_SUCCESS", b"")
