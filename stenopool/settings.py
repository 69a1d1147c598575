"""Settings of the installation: one tree, read from ``STENOPOOL_...`` with ``__`` for nesting.

AWS_*, HF_*, PREFECT_* and CUDA_VISIBLE_DEVICES keep their own names and meaning; they are not repeated here.
"""

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ModelSettings(BaseModel):
    """Where weights come from and where they are kept."""

    path: Annotated[Path | None, Field(description="Folder with one sub-folder per model; looked at first.")] = None
    mirror: Annotated[
        str | None,
        Field(description="Your own mirror: a folder or s3://bucket/prefix written by `stenopool models mirror`."),
    ] = None
    cache: Annotated[Path, Field(description="Where fetched, joined and converted weights are kept.")] = (
        Path.home() / ".cache" / "stenopool" / "models"
    )


class AudioSettings(BaseModel):
    """Bounds of decoding."""

    decode_timeout: Annotated[
        float,
        Field(gt=0, description="Longest time for decoding, in seconds, besides 1/10 of the audio's length."),
    ] = 120.0
    probe_timeout: Annotated[
        float, Field(gt=0, description="Longest time for reading a file's headers, in seconds.")
    ] = 30.0
    decode_memory: Annotated[
        int, Field(gt=0, description="Address space that decoding one file may take, in bytes.")
    ] = 4 * 1024**3
    max_channels: Annotated[int, Field(gt=0, le=512, description="Most channels that a recording may have.")] = 64
    max_ratio: Annotated[
        float,
        Field(
            gt=0,
            description="Most decoded bytes (16 kHz, 16 bit) for each stored byte; an hour of audio is always allowed.",
        ),
    ] = 2000.0


class ScratchSettings(BaseModel):
    """The temporary folder of a run: bounded while it lives, gone afterwards."""

    dir: Annotated[Path, Field(description="Where scratch folders are made.")] = Path(tempfile.gettempdir())
    max_bytes: Annotated[int, Field(gt=0, description="Most that one run's scratch may hold, in bytes.")] = 40 * 1024**3


class BatchSettings(BaseModel):
    """How recordings are grouped."""

    shard_seconds: Annotated[
        float, Field(gt=0, description="Audio that one run carries, in seconds (estimated from sizes).")
    ] = 4 * 3600.0
    shard_recordings: Annotated[int, Field(gt=0, description="Most recordings that one run carries.")] = 2000
    balanced_shards: Annotated[
        int, Field(gt=0, description="Shards that are made at a time, of equal length; more need more memory.")
    ] = 4
    batch_seconds: Annotated[float, Field(gt=0, description="Audio that one task carries, in seconds.")] = 1200.0
    batch_recordings: Annotated[int, Field(gt=0, description="Most recordings that one task carries.")] = 64


class DispatchSettings(BaseModel):
    """Who does a shard's runs: this process, or workers that pick them up."""

    by: Annotated[
        Literal["inline", "deployment"],
        Field(description="inline: in the process of `ingest`; deployment: runs of their own, on the pools' workers."),
    ] = "inline"
    prepare: Annotated[str, Field(description="Deployment of `prepare`.")] = "prepare/cpu"
    transcribe: Annotated[str, Field(description="Deployment of `transcribe`.")] = "transcribe/gpu"
    pool_prefix: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9._-]*$",
            description="What the names of the work pools begin with: they are called so and then `cpu` or `gpu`.",
        ),
    ] = "stenopool-"
    shards_in_flight: Annotated[
        int, Field(gt=0, description="Most shards that one `ingest` has under way at a time (with deployments).")
    ] = 8
    poll: Annotated[float, Field(gt=0, description="Seconds between looks at a run under way.")] = 2.0


class RetrySettings(BaseModel):
    """Retries of tasks, on transient errors only."""

    attempts: Annotated[int, Field(ge=0, description="Retries after the first try.")] = 3
    base_delay: Annotated[float, Field(ge=0, description="First pause in seconds; doubles each time.")] = 2.0
    jitter: Annotated[float, Field(ge=0, description="Random share added to each pause.")] = 0.5


class PriceSettings(BaseModel):
    """What an hour of a machine costs, in your currency; for the reports."""

    cpu_hour: Annotated[float, Field(ge=0, description="An hour of the machine that prepares.")] = 0.0
    gpu_hour: Annotated[float, Field(ge=0, description="An hour of the machine that transcribes.")] = 0.0
    daily_budget: Annotated[
        float | None, Field(gt=0, description="What a day may cost; an alarm tells when it costs more.")
    ] = None


class LinkSettings(BaseModel):
    """What reports link to."""

    base: Annotated[
        str | None,
        Field(
            description="Address at which browsers reach the destination, e.g. https://transcripts.example.org/2026."
        ),
    ] = None


class StopSettings(BaseModel):
    """How a run ends when it is asked to."""

    grace: Annotated[
        float, Field(gt=0, description="Seconds from SIGTERM to the end; below Kubernetes' grace period (30 s).")
    ] = 25.0


class LogSettings(BaseModel):
    """How what happens is told."""

    format: Annotated[
        Literal["text", "json"], Field(description="text: lines for people; json: an object per line, on stderr.")
    ] = "text"


class ApiSettings(BaseModel):
    """The API service: what it serves, to whom, and its bounds."""

    source: Annotated[
        str | None,
        Field(description="Where uploads go and recordings are; written like the source of a run. The API needs it."),
    ] = None
    destination: Annotated[
        str | None, Field(description="Where transcripts go; neither may lie inside the other. The API needs it.")
    ] = None
    keys: Annotated[
        Path | None,
        Field(
            description="File with a line per key: name, scopes, digest. `python -m stenopool.api.keys NAME` makes one."
        ),
    ] = None
    deployment: Annotated[str, Field(description="Deployment of `ingest` that uploads become runs of.")] = (
        "ingest/interactive"
    )
    bulk_deployment: Annotated[str, Field(description="The same for requests that name a whole prefix.")] = (
        "ingest/batch"
    )
    model: Annotated[str, Field(description="Whisper model for requests that name none of ours.")] = "base"
    max_bytes: Annotated[int, Field(gt=0, description="Largest upload, in bytes.")] = 4 * 1024**3
    uploads_at_once: Annotated[
        int,
        Field(gt=0, description="Most uploads that are read at a time, 6 MiB of memory each; others wait their turn."),
    ] = 24
    rate: Annotated[
        float, Field(gt=0, description="Requests per second that one key, or one address without a key, may make.")
    ] = 500.0
    body_timeout: Annotated[
        float, Field(gt=0, description="Seconds that a body may take, besides a second per 16 KiB received.")
    ] = 30.0
    wait: Annotated[
        float, Field(gt=0, description="Longest that /v1/audio/transcriptions waits for a transcript, in seconds.")
    ] = 600.0
    link_lifetime: Annotated[int, Field(gt=0, description="Seconds for which a presigned upload may begin.")] = 900


class CallbackSettings(BaseModel):
    """Callbacks: whom the API may tell that a recording is over, and how."""

    secrets: Annotated[
        Path | None,
        Field(
            description="File with a secret per line that callbacks are signed with, whsec_...; without it none are "
            "taken. `python -m stenopool.api.callbacks.sending` makes one."
        ),
    ] = None
    allow: Annotated[
        str,
        Field(description="Networks that may be called though they are private, also without TLS, e.g. 10.0.0.0/8."),
    ] = ""
    poll: Annotated[float, Field(gt=0, description="Seconds between looks at what is owed.")] = 2.0
    timeout: Annotated[float, Field(gt=0, description="Seconds that a receiver has for its answer.")] = 10.0
    pause: Annotated[
        float, Field(gt=0, description="Seconds after a try that failed; four times as many each time, 6 h at most.")
    ] = 5.0
    tries: Annotated[int, Field(gt=0, lt=100, description="Tries before a callback is given up: 10 take 20 hours.")] = (
        10
    )


class Settings(BaseSettings):
    """Everything about this installation that is not an option of a run."""

    model_config = SettingsConfigDict(env_prefix="STENOPOOL_", env_nested_delimiter="__", extra="ignore")

    models: ModelSettings = ModelSettings()
    audio: AudioSettings = AudioSettings()
    scratch: ScratchSettings = ScratchSettings()
    batch: BatchSettings = BatchSettings()
    dispatch: DispatchSettings = DispatchSettings()
    retry: RetrySettings = RetrySettings()
    prices: PriceSettings = PriceSettings()
    links: LinkSettings = LinkSettings()
    stop: StopSettings = StopSettings()
    log: LogSettings = LogSettings()
    api: ApiSettings = ApiSettings()
    callbacks: CallbackSettings = CallbackSettings()


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
