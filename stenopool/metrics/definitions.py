"""Every metric that Stenopool exports: name, type, labels and meaning, in one place.

docs/metrics.md is written from this list, and rules and dashboards name only what stands here. Units are seconds and
bytes, counters end in ``_total``, and labels have few values: never a recording, a batch or a run.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

MetricKind = Literal["counter", "gauge", "histogram"]
Program = Literal["exporter", "api", "worker"]

# Stages take from milliseconds (a receipt) to an hour (a long recording on a CPU).
STAGE_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
LOAD_BUCKETS = (0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0)
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)


class Metric(NamedTuple):
    """One metric. ``labels``: by name, what each can be, in words. ``programs``: which of ours export it."""

    name: str
    help: str
    labels: Mapping[str, str] = MappingProxyType({})
    programs: tuple[Program, ...] = ("exporter",)
    buckets: tuple[float, ...] = ()

    @property
    def kind(self) -> MetricKind:
        """Told from the name, as the naming rules have it."""
        return "histogram" if self.buckets else "counter" if self.name.endswith("_total") else "gauge"


_STAGE = {"stage": "a task's name, such as `normalize` or `transcribe`"}
_DEPENDENCY = {"dependency": "`destination`, `prefect`"}
_POOL = {"pool": "`cpu`, `gpu`"}
_QUEUE = {"queue": "pool, without its prefix, and queue, such as `gpu/batch`"}

# What was done. Counted from what batches wrote to the destination.
RECORDINGS = Metric(
    "stenopool_recordings_total",
    "Recordings that batches brought to an end.",
    {
        "status": "`done`, `rendered` (more formats of a finished one), `quarantined`, `deferred` (waits for the next "
        "run)",
        "reason": "an error code, empty unless it failed. A key that cannot be written (`KEY_UNUSABLE`) is counted by "
        "every batch that meets it",
    },
)
AUDIO_SECONDS = Metric(
    "stenopool_audio_seconds_total",
    "Audio transcribed, in seconds.",
    {"engine": "`faster-whisper`, `whisperx`, `whisper`", "model": "its name"},
)
STAGE_SECONDS = Metric(
    "stenopool_stage_seconds",
    "Wall time of a stage over one batch of recordings, each attempt for itself.",
    _STAGE,
    buckets=STAGE_BUCKETS,
)
STAGE_AUDIO_SECONDS = Metric(
    "stenopool_stage_audio_seconds_total",
    "Audio that went through a stage, in seconds, where its length is known; a stage tried again carries it again.",
    _STAGE,
)
STAGE_FAILURES = Metric(
    "stenopool_stage_failures_total", "Recordings that failed in a stage.", _STAGE | {"reason": "an error code"}
)
STAGE_RETRIES = Metric("stenopool_stage_retries_total", "Attempts at a stage after its first.", _STAGE)
TRANSIENT_ERRORS = Metric(
    "stenopool_transient_errors_total",
    "Errors of the moment (storage, memory, device) that a stage met, whether trying again helped or not.",
    _STAGE | {"reason": "an error code, such as `STORAGE_UNAVAILABLE`, `SOURCE_UNAVAILABLE`, `OUT_OF_MEMORY`"},
)
CHECKPOINT_HITS = Metric(
    "stenopool_checkpoint_hits_total",
    "Recordings for which a stage had nothing to do, since an earlier run had left its checkpoint.",
    {"stage": "`prepare`, `transcribe`, `align`, `diarize`"},
)
TRANSCRIPT_FLAGS = Metric(
    "stenopool_transcript_flags_total",
    "Transcripts that carry a flag, on the whole or on a segment.",
    {"flag": "as in the transcript, such as `hallucination_suspected`"},
)
MODEL_LOAD_SECONDS = Metric(
    "stenopool_model_load_seconds", "Time that a transcribe run spent on loading its models.", buckets=LOAD_BUCKETS
)
GPU_SECONDS = Metric(
    "stenopool_gpu_seconds_total",
    "Wall time of transcribe runs, by what their device did. All of it is paid for.",
    {"kind": "`busy`, `load` (models), `idle`"},
)
CPU_SECONDS = Metric("stenopool_cpu_seconds_total", "Wall time of prepare runs.")
COST = Metric("stenopool_cost_dollars_total", "Cost of all runs at the prices of the settings, in their currency.")
BATCHES = Metric(
    "stenopool_batches_total",
    "Batches that are over.",
    {
        "status": "`complete` (nothing is pending), `incomplete` (recordings wait for the next run), `lost` (the run "
        "ended without a report)"
    },
)
REALTIME_FACTOR = Metric(
    "stenopool_realtime_factor",
    "Seconds of audio per second of wall time in the last batch that transcribed any.",
    {"stage": "`batch` for the whole, else as in its report: `normalize`, `transcribe`, `align`, `diarize`"},
)

# How things stand.
BATCHES_RUNNING = Metric("stenopool_batches_running", "Batches under way.")
LAST_PROGRESS = Metric(
    "stenopool_last_progress_timestamp_seconds",
    "When a stage or a shard was last seen to end, in Unix time; 0 if never.",
)
LAST_BATCH = Metric(
    "stenopool_last_batch_timestamp_seconds", "When a batch last came to its end, in Unix time; 0 if never."
)
QUEUE_DEPTH = Metric(
    "stenopool_queue_depth",
    "Flow runs in a queue of Prefect's. A run in a `gpu` queue is one GPU's work, a shard.",
    _QUEUE | {"state": "`waiting` (due, taken by nobody), `pending` (waits for its machine), `running`"},
)
QUEUE_OLDEST = Metric(
    "stenopool_queue_oldest_seconds",
    "How long the oldest run in the queue has been due and not running; 0 if none waits.",
    _QUEUE,
)
QUEUE_PAUSED = Metric("stenopool_queue_paused", "1 if the queue is paused.", _QUEUE)
WORKERS = Metric("stenopool_workers", "Workers that Prefect knows of.", _POOL | {"state": "`online`, `offline`"})
WORKER_LAST_SEEN = Metric(
    "stenopool_worker_last_seen_timestamp_seconds",
    "Last heartbeat of any worker of the pool, in Unix time; 0 if none was ever there.",
    _POOL,
)
ZOMBIE_RUNS = Metric("stenopool_zombie_runs", "Runs that are said to be running and whose heartbeat has stopped.")
PRICE = Metric(
    "stenopool_price_dollars_per_hour",
    "What an hour of a machine costs, from the settings.",
    {"machine": "`cpu`, `gpu`"},
)
BUDGET = Metric("stenopool_daily_budget_dollars", "What a day may cost, from the settings; absent if none is set.")

# Each program of itself.
BUILD_INFO = Metric(
    "stenopool_build_info",
    "Always 1; the version is the label.",
    {"version": ""},
    programs=("exporter", "api", "worker"),
)
DEPENDENCY_UP = Metric(
    "stenopool_dependency_up",
    "1 if what the program needs answered at its last look.",
    {"dependency": "`destination`, `source`, `prefect`, `polling`, `weights`"},
    programs=("exporter", "api", "worker"),
)
COLLECTION_ERRORS = Metric(
    "stenopool_collection_errors_total",
    "Looks of the exporter that failed; its figures are then those of the look before.",
    _DEPENDENCY,
)
COLLECTION_TIMESTAMP = Metric(
    "stenopool_collection_timestamp_seconds",
    "When the exporter last looked with success, in Unix time; 0 if never.",
    _DEPENDENCY,
)
COLLECTION_SECONDS = Metric("stenopool_collection_seconds", "How long the exporter's last look took.", _DEPENDENCY)
API_REQUESTS = Metric(
    "stenopool_api_requests_total",
    "Requests answered.",
    {"method": "", "route": "the template, such as `/v1/recordings/{id}`, or `other`", "status": "the HTTP status"},
    programs=("api",),
)
API_REQUEST_SECONDS = Metric(
    "stenopool_api_request_seconds",
    "Time from a request's head to the end of its answer.",
    {"method": "", "route": "as above"},
    programs=("api",),
    buckets=REQUEST_BUCKETS,
)
API_IN_PROGRESS = Metric("stenopool_api_requests_in_progress", "Requests that are being answered.", programs=("api",))
API_UPLOAD_BYTES = Metric("stenopool_api_upload_bytes_total", "Bytes of request bodies received.", programs=("api",))
WORKER_RUNS = Metric(
    "stenopool_worker_runs_in_progress",
    "Runs that this worker has started and not seen the end of.",
    _POOL,
    programs=("worker",),
)
WORKER_LAST_POLL = Metric(
    "stenopool_worker_last_poll_timestamp_seconds",
    "When this worker last asked for work, in Unix time.",
    _POOL,
    programs=("worker",),
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
