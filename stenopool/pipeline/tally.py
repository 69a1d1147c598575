"""What a run counts about itself while it works. Tallies add up: of a run, a batch, a year of batches."""

from collections import Counter

from pydantic import BaseModel, Field

from stenopool.metrics.definitions import STAGE_BUCKETS
from stenopool.metrics.histogram import Histogram
from stenopool.pipeline.outcomes import StageAttempt

# Stage and error code, "fetch STORAGE_UNAVAILABLE": one text, for JSON knows no other keys. No code has a space.
Cause = str


class Tally(BaseModel):
    """``stages``: seconds of each attempt at a stage. ``audio``: seconds that went through it. ``retries``: attempts
    after the first. ``errors``: what went wrong for a moment, by `Cause`. ``checkpoints``: recordings for which an
    earlier run had done the stage. ``flags``: transcripts by flag.
    """

    stages: dict[str, Histogram] = Field(default_factory=dict)
    audio: dict[str, float] = Field(default_factory=dict)
    retries: Counter[str] = Field(default_factory=Counter)
    errors: Counter[str] = Field(default_factory=Counter)
    checkpoints: Counter[str] = Field(default_factory=Counter)
    flags: Counter[str] = Field(default_factory=Counter)

    def add_attempt(self, attempt: StageAttempt) -> None:
        """Count one attempt at a stage."""
        stage = attempt.stage
        self._stage(stage).observe(sum(stop - start for start, stop in attempt.working), STAGE_BUCKETS)
        self.audio[stage] = self.audio.get(stage, 0.0) + attempt.audio
        self.retries[stage] += attempt.again  # also 0: Prometheus sees no increase in a counter that begins at 1
        if attempt.error:
            self.errors[cause(stage, attempt.error)] += 1

    def add(self, other: "Tally") -> None:
        for stage, histogram in other.stages.items():
            self._stage(stage).add(histogram)
        for stage, seconds in other.audio.items():
            self.audio[stage] = self.audio.get(stage, 0.0) + seconds
        self.retries.update(other.retries)
        self.errors.update(other.errors)
        self.checkpoints.update(other.checkpoints)
        self.flags.update(other.flags)

    def _stage(self, name: str) -> Histogram:
        return self.stages.setdefault(name, Histogram())


def cause(stage: str | None, code: str) -> Cause:
    """Where and why, as one text."""
    return f"{stage or ''} {code}"


def parted(cause: Cause) -> tuple[str, str]:
    """Stage and code of a `Cause`."""
    stage, _, code = cause.rpartition(" ")
    return stage, code
