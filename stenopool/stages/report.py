"""What a shard and a batch came to: counts, hours, speed, failures by code."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from stenopool.receipts import BATCHES
from stenopool.settings import get_settings
from stenopool.shards import Piece, Shard
from stenopool.stages.plan import Plan
from stenopool.stages.run import FailedRecording, Run
from stenopool.storage.base import ObjectStore


class ShardResult(BaseModel):
    """What one run over a shard did; kept beside its manifest, so that the batch can be summed up from anywhere."""

    done: int = 0
    left: int = 0
    """Recordings that another run finished meanwhile."""
    rendered: int = 0
    """Finished recordings that got more formats."""
    failed: list[FailedRecording] = Field(default_factory=list)
    audio_seconds: float = 0.0
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    stage_audio: dict[str, float] = Field(default_factory=dict)
    device_seconds: dict[str, float] = Field(default_factory=dict)
    durations: dict[str, float] = Field(default_factory=dict)
    """Exact seconds of audio, by fingerprint."""

    @property
    def seconds(self) -> float:
        """Wall time of the run."""
        return sum(self.device_seconds.values())

    @classmethod
    def of(cls, run: Run, pieces: Sequence[Piece], *, finished: bool = False) -> "ShardResult":
        """The result of a run over these pieces; ``finished``: those that did not fail are done now."""
        sound = run.sound(pieces) if finished else []
        return cls(
            done=len(sound),
            left=sum(piece.fingerprint in run.finished_elsewhere for piece in pieces),
            rendered=sum(piece.formats != () for piece in run.sound(pieces)),
            failed=[
                FailedRecording(key=p.recording.key, fingerprint=p.fingerprint, failure=run.failures[p.fingerprint])
                for p in pieces
                if p.fingerprint in run.failures
            ],
            audio_seconds=sum(run.durations.get(piece.fingerprint, 0.0) for piece in sound),
            stage_seconds=dict(run.stage_seconds),
            stage_audio=dict(run.stage_audio),
            device_seconds=run.device.summary(),
            durations={p.fingerprint: run.durations[p.fingerprint] for p in pieces if p.fingerprint in run.durations},
        )

    def write(self, destination: ObjectStore, shard: Shard, stage: str) -> None:
        destination.put_bytes(_result_key(shard, stage), self.model_dump_json().encode())


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
        cls,
        run: Run,
        plan: Plan,
        prepared: Sequence[ShardResult],
        transcribed: Sequence[ShardResult],
        batch: str,
        started_at: datetime,
    ) -> "BatchReport":
        """Sum up what the shards' runs wrote and what the plan counted. Idle is only what was paid for the GPU."""
        prices = get_settings().prices
        cost = sum(result.seconds for result in prepared) / 3600 * prices.cpu_hour
        cost += sum(result.seconds for result in transcribed) / 3600 * prices.gpu_hour
        device_seconds = Counter[str]()
        for result in transcribed:
            device_seconds.update(result.device_seconds)
        finished_at = datetime.now(UTC)
        seconds = (finished_at - started_at).total_seconds()
        stage_seconds, stage_audio = Counter[str](), Counter[str]()
        failed = list(plan.unusable)
        done, left, audio = 0, 0, 0.0
        for result in (*prepared, *transcribed):
            stage_seconds.update(result.stage_seconds)
            stage_audio.update(result.stage_audio)
            failed += result.failed
            done += result.done
            left += result.left
            audio += result.audio_seconds
        return cls(
            batch=batch,
            source=run.source.uri,
            destination=run.destination.uri,
            options=run.options.model_dump(mode="json"),
            started_at=started_at,
            finished_at=finished_at,
            seconds=seconds,
            new=plan.counts["new"] - left,
            already_done=plan.counts["done"] + plan.counts["render"] + left,
            rendered=sum(result.rendered for result in prepared),
            in_quarantine=plan.counts["quarantined"] - len(plan.unusable),
            done=done,
            quarantined=sum(one.quarantined for one in failed),
            deferred=sum(not one.quarantined for one in failed),
            audio_seconds=audio,
            realtime_factor=audio / seconds if seconds else 0.0,
            stage_seconds=dict(stage_seconds),
            stage_speed={
                stage: stage_audio[stage] / wall for stage, wall in stage_seconds.items() if wall and stage_audio[stage]
            },
            device_seconds=dict(device_seconds),
            cost=round(cost, 4),
            cost_per_audio_hour=round(cost / audio * 3600, 4) if audio else None,
            failures_by_code=dict(Counter(str(one.failure.code) for one in failed)),
            failed=failed,
        )

    @property
    def complete(self) -> bool:
        """Whether nothing is pending: all is done or in quarantine."""
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


def read_result(destination: ObjectStore, shard: Shard, stage: str) -> ShardResult:
    """What a run over the shard wrote."""
    return ShardResult.model_validate_json(destination.get_bytes(_result_key(shard, stage)))


def _result_key(shard: Shard, stage: str) -> str:
    return f"{BATCHES}{shard.batch}/shards/{shard.name}.{stage}.json"
