"""Settings of the installation, read from environment variables ``STENOPOOL_...`` with ``__`` for nesting.

AWS_*, HF_*, PREFECT_* and CUDA_VISIBLE_DEVICES keep their usual names and meanings, and are not repeated here.
"""

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from stenopool.errors import OptionsInvalid


def _split(value: Any) -> Any:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


# Comma-separated, not JSON.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class _Section(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ModelSettings(_Section):
    """Sources of model weights, and their cache."""

    path: Path | None = None
    """Folder with one subfolder per model; searched first."""
    mirror: str | None = None
    """Your own mirror: a folder or s3://bucket/prefix written by `stenopool models mirror`."""
    mirror_sha256: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$")] = None
    """SHA-256 of the mirror's manifest, as printed by `stenopool models mirror`; unset: the manifest is not checked."""
    pins: Path | None = None
    """File with your own pins, written by `stenopool models pin`; unset: pins.toml in the cache."""
    cache: Path = Path.home() / ".cache" / "stenopool" / "models"
    """Folder for downloaded, joined and converted weights."""


class AudioSettings(_Section):
    """Limits on decoding."""

    decode_timeout: Annotated[float, Field(gt=0)] = 120.0
    """Time limit for decoding a file, in seconds, plus a tenth of the audio's length."""
    probe_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Time limit for reading a file's headers, in seconds."""
    decode_memory: Annotated[int, Field(gt=0)] = 4 * 1024**3
    """Maximum address space for decoding one file, in bytes."""
    max_channels: Annotated[int, Field(gt=0, le=512)] = 64
    """Maximum number of channels of a recording."""
    max_ratio: Annotated[float, Field(gt=0)] = 2000.0
    """Maximum ratio of decoded bytes (16 kHz, 16 bit) to stored bytes; one hour of audio is always allowed."""


class ScratchSettings(_Section):
    """The temporary folder of a run: limited in size, and deleted when the run ends."""

    dir: Path = Path(tempfile.gettempdir())
    """Folder in which scratch folders are created."""
    max_bytes: Annotated[int, Field(gt=0)] = 40 * 1024**3
    """Maximum size of one run's scratch folder, in bytes."""


class StorageSettings(_Section):
    """What S3 buckets require of requests; `stenopool doctor SOURCE DESTINATION` detects it."""

    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    """Server-side encryption of every object written; unset: the bucket's default."""
    kms_key: Annotated[str | None, Field(min_length=1)] = None
    """ID or ARN of the KMS key; implies aws:kms if no encryption is set. Unset: the key of the bucket or account."""
    requester_pays: bool = False
    """Pay for requests to requester-pays buckets."""
    acl: Literal["private", "bucket-owner-read", "bucket-owner-full-control"] | None = None
    """Canned ACL of every object written, if the policy of another account's bucket requires one."""
    tags: Annotated[str | None, Field(pattern=r"^[^=&\s]+=[^=&\s]*(&[^=&\s]+=[^=&\s]*)*$")] = None
    """Tags of every object written, URL-encoded, e.g. team=calls&kept=90d."""
    addressing: Literal["path", "virtual"] | None = None
    """path: ENDPOINT/BUCKET; virtual: BUCKET.ENDPOINT; unset: path for your own endpoints, virtual for AWS."""
    conditional_writes: bool = True
    """Turn off for stores without If-None-Match: concurrent runs may repeat work, and uploads are not presigned."""

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.kms_key and self.encryption == "AES256":
            raise ValueError("a KMS key requires encryption aws:kms or aws:kms:dsse, not AES256")
        return self


class BatchSettings(_Section):
    """Grouping of recordings into runs (shards) and tasks (batches)."""

    shard_seconds: Annotated[float, Field(gt=0)] = 4 * 3600.0
    """Audio per run, in seconds (estimated from file sizes)."""
    shard_recordings: Annotated[int, Field(gt=0)] = 2000
    """Maximum number of recordings per run."""
    balanced_shards: Annotated[int, Field(gt=0)] = 4
    """Number of shards made at a time, with equal amounts of audio; a higher number needs more memory."""
    batch_seconds: Annotated[float, Field(gt=0)] = 1200.0
    """Audio per task, in seconds."""
    batch_recordings: Annotated[int, Field(gt=0)] = 64
    """Maximum number of recordings per task."""


class DispatchSettings(_Section):
    """Where shards run: in this process, or on workers."""

    by: Literal["inline", "deployment"] = "inline"
    """inline: in the process of `ingest`; deployment: as separate runs on the workers of the pools."""
    prepare: str = "prepare/cpu"
    """Deployment of `prepare`."""
    transcribe: str = "transcribe/gpu"
    """Deployment of `transcribe`."""
    pool_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$")] = "stenopool-"
    """Prefix of the work pools' names, followed by `cpu` or `gpu`."""
    shards_in_flight: Annotated[int, Field(gt=0)] = 8
    """Maximum number of shards that one `ingest` runs at a time (with deployments)."""
    poll: Annotated[float, Field(gt=0)] = 2.0
    """Seconds between checks of a run's state."""


class RetrySettings(_Section):
    """Retries of tasks after transient errors."""

    attempts: Annotated[int, Field(ge=0)] = 3
    """Maximum number of retries after the first attempt."""
    base_delay: Annotated[float, Field(ge=0)] = 2.0
    """Delay before the first retry, in seconds; doubles for each further retry."""
    jitter: Annotated[float, Field(ge=0)] = 0.5
    """Random variation of each delay, as a share of it."""


class PriceSettings(_Section):
    """Machine prices for cost reports, in your currency."""

    cpu_hour: Annotated[float, Field(ge=0)] = 0.0
    """Price per hour of a machine that prepares recordings."""
    gpu_hour: Annotated[float, Field(ge=0)] = 0.0
    """Price per hour of a machine that transcribes."""
    daily_budget: Annotated[float | None, Field(gt=0)] = None
    """Budget per day; an alert fires when it is exceeded."""


class LinkSettings(_Section):
    """Links in reports."""

    base: str | None = None
    """URL of the destination for browsers, e.g. https://transcripts.example.org/2026."""


class StopSettings(_Section):
    """Shutdown of a run."""

    grace: Annotated[float, Field(gt=0)] = 25.0
    """Seconds from SIGTERM until the process exits; keep it below Kubernetes' grace period (30 s)."""


class LogSettings(_Section):
    """Logging."""

    format: Literal["text", "json"] = "text"
    """Log format: text, or json (one object per line, on stderr)."""


class ApiSettings(_Section):
    """The API service: locations, allowed choices, and limits."""

    source: str | None = None
    """Location of recordings, including uploads; same form as the source of a run. Required by the API."""
    destination: str | None = None
    """Location of transcripts; must not be inside the source, or contain it. Required by the API."""
    keys: Path | None = None
    """File with one API key per line, reloaded on change. To add one: `python -m stenopool.api.keys NAME SCOPES`."""
    deployment: str = "ingest/interactive"
    """Deployment of `ingest` that transcribes uploads."""
    bulk_deployment: str = "ingest/batch"
    """Deployment of `ingest` for requests that name a whole prefix."""
    model: str = "base"
    """Whisper model for requests that name no model, or one of OpenAI's."""
    models: Names = ()
    """Other models that requests may name, e.g. large-v3,turbo; workers download missing models."""
    engines: Names = ("faster-whisper",)
    """Engines that requests may name; whisperx also allows word alignment."""
    diarizers: Names = ("senko", "channels")
    """Diarizers that requests may name; off is always allowed. pyannote loads its checkpoints with pickle."""
    max_bytes: Annotated[int, Field(gt=0)] = 4 * 1024**3
    """Maximum size of an upload, in bytes."""
    neutral_names: bool = False
    """Store uploads as recording.EXT: original names can be confidential, and so appear in no URL, log or file."""
    uploads_at_once: Annotated[int, Field(gt=0)] = 24
    """Maximum concurrent uploads, each using 6 MiB of memory; a third of them per key. Others wait up to 10 s."""
    rate: Annotated[float, Field(gt=0)] = 500.0
    """Requests per second allowed for a key, or for an address without a key; requests that may render count as ten."""
    connections: Annotated[int, Field(gt=0)] = 256
    """Maximum connections per process; above it, the connection that has been idle longest is closed."""
    header_timeout: Annotated[int, Field(gt=0)] = 15
    """Seconds that a connection may be idle, sending a request's headers, or not reading the response."""
    body_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Time limit for receiving a request body, in seconds, plus one second per 64 KiB received."""
    upload_timeout: Annotated[float, Field(gt=0)] = 4 * 3600.0
    """Absolute time limit for receiving a request body, in seconds."""
    forwarded_allow_ips: str | None = None
    """Addresses or networks of proxies whose X-Forwarded-For and -Proto are trusted; unset: this machine's."""
    wait: Annotated[float, Field(gt=0)] = 600.0
    """Maximum time that /v1/audio/transcriptions and /translations wait for a transcript, in seconds."""
    keep_alive: Annotated[float, Field(gt=0)] = 15.0
    """Maximum time without a byte while they wait, in seconds; blanks or comments keep proxies from closing it."""
    link_lifetime: Annotated[int, Field(gt=0)] = 900
    """Seconds within which a presigned upload must start."""


class CallbackSettings(_Section):
    """Callbacks that the API sends when a recording is finished."""

    secrets: Path | None = None
    """File with signing secrets; unset: no callbacks. To create one: `python -m stenopool.api.callbacks.sending`."""
    allow: str = ""
    """Private networks to which callbacks are allowed, also without TLS, e.g. 10.0.0.0/8."""
    hosts: str = ""
    """The only hosts to which callbacks are allowed, e.g. hooks.example.org,*.example.net; unset: every public host."""
    most: Annotated[int, Field(gt=0)] = 1000
    """Maximum number of pending callbacks per key."""
    poll: Annotated[float, Field(gt=0)] = 2.0
    """Seconds between checks for callbacks to send."""
    timeout: Annotated[float, Field(gt=0)] = 10.0
    """Time limit for a receiver's response, in seconds."""
    pause: Annotated[float, Field(gt=0)] = 5.0
    """Delay after the first failed attempt, in seconds; four times longer after each further one, up to 6 h."""
    tries: Annotated[int, Field(gt=0, lt=99)] = 10
    """Attempts before a callback is dropped: 10 attempts take 20 hours."""


class Settings(BaseSettings):
    """Settings of this installation, other than the options of a run."""

    model_config = SettingsConfigDict(env_prefix="STENOPOOL_", env_nested_delimiter="__", extra="ignore")

    models: ModelSettings = ModelSettings()
    audio: AudioSettings = AudioSettings()
    scratch: ScratchSettings = ScratchSettings()
    storage: StorageSettings = StorageSettings()
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
    """The settings of this process, read once. Raises `OptionsInvalid`."""
    try:
        return Settings()
    except ValidationError as error:
        # Without the values: some settings are secret.
        wrong = "; ".join(
            f"STENOPOOL_{'__'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()
        )
        raise OptionsInvalid(f"{wrong}.", remedy="Correct these settings; docs/settings.md lists all.") from None
