"""What batches came to, in figures that add up. Two labels are one key, with a space between: JSON has only texts."""

from collections import Counter

from pydantic import Field

from stenopool.metrics.amounts import Amounts, Histogram, add_up
from stenopool.metrics.definitions import STAGE_BUCKETS
from stenopool.pipeline.outcomes import StageAttempt


class Tally(Amounts):
    """What a run counts about itself while it works, by stage."""

    stages: dict[str, Histogram] = Field(default_factory=dict)
    """Seconds of each attempt."""
    audio: dict[str, float] = Field(default_factory=dict)
    """Seconds of audio that went through."""
    retries: Counter[str] = Field(default_factory=Counter)
    """Attempts after the first."""
    errors: Counter[str] = Field(default_factory=Counter)
    """Transient errors, by stage and code."""
    checkpoints: Counter[str] = Field(default_factory=Counter)
    """Recordings for which an earlier run had done the stage."""
    flags: Counter[str] = Field(default_factory=Counter)
    """Transcripts, by flag."""

    def add_attempt(self, attempt: StageAttempt) -> None:
        """Count one attempt at a stage."""
        stage = attempt.stage
        self.stages.setdefault(stage, Histogram()).observe(
            sum(stop - start for start, stop in attempt.working), STAGE_BUCKETS
        )
        add_up(self.audio, {stage: attempt.audio})
        self.retries[stage] += attempt.again  # also 0: Prometheus sees no increase in a counter that begins at 1
        if attempt.error:
            self.errors[join_cause(stage, attempt.error)] += 1


class Sums(Amounts):
    """All that is counted."""

    recordings: Counter[str] = Field(default_factory=Counter)
    """By status and error code."""
    audio_seconds: dict[str, float] = Field(default_factory=dict)
    """By engine and model."""
    failures: Counter[str] = Field(default_factory=Counter)
    """By stage and error code."""
    batches: Counter[str] = Field(default_factory=Counter)
    """Those that are over, by status."""
    gpu_seconds: dict[str, float] = Field(default_factory=dict)
    """Busy, load, idle."""
    cpu_seconds: float = 0.0
    cost: float = 0.0
    loads: Histogram = Field(default_factory=Histogram)
    tally: Tally = Field(default_factory=Tally)


def join_cause(stage: str | None, code: str) -> str:
    """Where and why, as one text: "fetch STORAGE_UNAVAILABLE"."""
    return f"{stage or ''} {code}"


def split_cause(cause: str) -> tuple[str, str]:
    """Stage and code. A stage's name may have a space, a code has none."""
    stage, _, code = cause.rpartition(" ")
    return stage, code
