"""Every metric that Stenopool exports: name, type, labels and meaning, in one place.

docs/metrics.md is written from this list, and rules and dashboards name only what stands here. Units are seconds and
bytes, counters end in ``_total``, and labels have few values: never a recording, a batch or a run.
"""

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]
Program = Literal["exporter", "api", "worker"]

# Stages take from milliseconds (a receipt) to an hour (a long recording on a CPU).
STAGE_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
LOAD_BUCKETS = (0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0)
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)


class Metric(NamedTuple):
    """One metric. ``programs``: which of ours export it. ``values``: what its labels can be, in words."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    values: str = ""
    programs: tuple[Program, ...] = ("exporter",)
    buckets: tuple[float, ...] = ()


_STAGES = "stage: a task's name, such as `normalize` or `transcribe`"
_CODES = "reason: an error code"
_QUEUES = "queue: pool, without its prefix, and queue, such as `gpu/batch`"

# What was done. Counted from what batches wrote to the destination.
RECORDINGS = Metric(
    "stenopool_recordings_total",
    "counter",
    "Recordings that batches brought to an end.",
    ("status", "reason"),
    "status: `done`, `rendered` (more formats of a finished one), `quarantined`, `deferred` (waits for the next run); "
    "reason: an error code, empty unless it failed. A key that cannot be written (`KEY_UNUSABLE`) is counted by every "
    "batch that meets it",
)
AUDIO_SECONDS = Metric(
    "stenopool_audio_seconds_total",
    "counter",
    "Audio transcribed, in seconds.",
    ("engine", "model"),
    "engine: `faster-whisper`, `whisperx`, `whisper`; model: its name",
)
STAGE_SECONDS = Metric(
    "stenopool_stage_seconds",
    "histogram",
    "Wall time of a stage over one batch of recordings, each attempt for itself.",
    ("stage",),
    _STAGES,
    buckets=STAGE_BUCKETS,
)
STAGE_AUDIO_SECONDS = Metric(
    "stenopool_stage_audio_seconds_total",
    "counter",
    "Audio that went through a stage, in seconds, where its length is known; a stage tried again carries it again.",
    ("stage",),
    _STAGES,
)
STAGE_FAILURES = Metric(
    "stenopool_stage_failures_total",
    "counter",
    "Recordings that failed in a stage.",
    ("stage", "reason"),
    f"{_STAGES}; {_CODES}",
)
STAGE_RETRIES = Metric(
    "stenopool_stage_retries_total",
    "counter",
    "Attempts at a stage after its first.",
    ("stage",),
    _STAGES,
)
TRANSIENT_ERRORS = Metric(
    "stenopool_transient_errors_total",
    "counter",
    "Errors of the moment (storage, memory, device) that a stage met, whether trying again helped or not.",
    ("stage", "reason"),
    f"{_STAGES}; {_CODES}, such as `STORAGE_UNAVAILABLE`, `SOURCE_UNAVAILABLE`, `OUT_OF_MEMORY`",
)
CHECKPOINT_HITS = Metric(
    "stenopool_checkpoint_hits_total",
    "counter",
    "Recordings for which a stage had nothing to do, since an earlier run had left its checkpoint.",
    ("stage",),
    "stage: `prepare`, `transcribe`, `align`, `diarize`",
)
TRANSCRIPT_FLAGS = Metric(
    "stenopool_transcript_flags_total",
    "counter",
    "Transcripts that carry a flag, on the whole or on a segment.",
    ("flag",),
    "flag: as in the transcript, such as `hallucination_suspected`",
)
MODEL_LOAD_SECONDS = Metric(
    "stenopool_model_load_seconds",
    "histogram",
    "Time that a transcribe run spent on loading its models.",
    buckets=LOAD_BUCKETS,
)
GPU_SECONDS = Metric(
    "stenopool_gpu_seconds_total",
    "counter",
    "Wall time of transcribe runs, by what their device did. All of it is paid for.",
    ("kind",),
    "kind: `busy`, `load` (models), `idle`",
)
CPU_SECONDS = Metric(
    "stenopool_cpu_seconds_total",
    "counter",
    "Wall time of prepare runs.",
)
COST = Metric(
    "stenopool_cost_dollars_total",
    "counter",
    "Cost of all runs at the prices of the settings, in their currency.",
)
BATCHES = Metric(
    "stenopool_batches_total",
    "counter",
    "Batches that are over.",
    ("status",),
    "status: `complete` (nothing is pending), `incomplete` (recordings wait for the next run), `lost` (the run ended "
    "without a report)",
)
REALTIME_FACTOR = Metric(
    "stenopool_realtime_factor",
    "gauge",
    "Seconds of audio per second of wall time in the last batch that transcribed any.",
    ("stage",),
    "stage: `batch` for the whole, else as in its report: `normalize`, `transcribe`, `align`, `diarize`",
)

# How things stand.
BATCHES_RUNNING = Metric("stenopool_batches_running", "gauge", "Batches under way.")
LAST_PROGRESS = Metric(
    "stenopool_last_progress_timestamp_seconds",
    "gauge",
    "When a stage or a shard was last seen to end, in Unix time; 0 if never.",
)
LAST_BATCH = Metric(
    "stenopool_last_batch_timestamp_seconds", "gauge", "When a batch last came to its end, in Unix time; 0 if never."
)
QUEUE_DEPTH = Metric(
    "stenopool_queue_depth",
    "gauge",
    "Flow runs in a queue of Prefect's. A run in a `gpu` queue is one GPU's work, a shard.",
    ("queue", "state"),
    f"{_QUEUES}; state: `waiting` (due, taken by nobody), `pending` (waits for its machine), `running`",
)
QUEUE_OLDEST = Metric(
    "stenopool_queue_oldest_seconds",
    "gauge",
    "How long the oldest run in the queue has been due and not running; 0 if none waits.",
    ("queue",),
    _QUEUES,
)
QUEUE_PAUSED = Metric("stenopool_queue_paused", "gauge", "1 if the queue is paused.", ("queue",), _QUEUES)
WORKERS = Metric(
    "stenopool_workers",
    "gauge",
    "Workers that Prefect knows of.",
    ("pool", "state"),
    "pool: `cpu`, `gpu`; state: `online`, `offline`",
)
WORKER_LAST_SEEN = Metric(
    "stenopool_worker_last_seen_timestamp_seconds",
    "gauge",
    "Last heartbeat of any worker of the pool, in Unix time; 0 if none was ever there.",
    ("pool",),
    "pool: `cpu`, `gpu`",
)
ZOMBIE_RUNS = Metric(
    "stenopool_zombie_runs",
    "gauge",
    "Runs that are said to be running and whose heartbeat has stopped.",
)
PRICE = Metric(
    "stenopool_price_dollars_per_hour",
    "gauge",
    "What an hour of a machine costs, from the settings.",
    ("machine",),
    "machine: `cpu`, `gpu`",
)
BUDGET = Metric(
    "stenopool_daily_budget_dollars", "gauge", "What a day may cost, from the settings; absent if none is set."
)

# Each program of itself.
BUILD_INFO = Metric(
    "stenopool_build_info",
    "gauge",
    "Always 1; the version is the label.",
    ("version",),
    programs=("exporter", "api", "worker"),
)
DEPENDENCY_UP = Metric(
    "stenopool_dependency_up",
    "gauge",
    "1 if what the program needs answered at its last look.",
    ("dependency",),
    "dependency: `destination`, `source`, `prefect`, `polling`, `weights`",
    programs=("exporter", "api", "worker"),
)
COLLECTION_ERRORS = Metric(
    "stenopool_collection_errors_total",
    "counter",
    "Looks of the exporter that failed; its figures are then those of the look before.",
    ("dependency",),
    "dependency: `destination`, `prefect`",
)
COLLECTION_TIMESTAMP = Metric(
    "stenopool_collection_timestamp_seconds",
    "gauge",
    "When the exporter last looked with success, in Unix time; 0 if never.",
    ("dependency",),
    "dependency: `destination`, `prefect`",
)
COLLECTION_SECONDS = Metric(
    "stenopool_collection_seconds",
    "gauge",
    "How long the exporter's last look took.",
    ("dependency",),
    "dependency: `destination`, `prefect`",
)
API_REQUESTS = Metric(
    "stenopool_api_requests_total",
    "counter",
    "Requests answered.",
    ("method", "route", "status"),
    "route: the template, such as `/v1/recordings/{id}`, or `other`; status: the HTTP status",
    programs=("api",),
)
API_REQUEST_SECONDS = Metric(
    "stenopool_api_request_seconds",
    "histogram",
    "Time from a request's head to the end of its answer.",
    ("method", "route"),
    "route: as above",
    programs=("api",),
    buckets=REQUEST_BUCKETS,
)
API_IN_PROGRESS = Metric(
    "stenopool_api_requests_in_progress", "gauge", "Requests that are being answered.", programs=("api",)
)
API_UPLOAD_BYTES = Metric(
    "stenopool_api_upload_bytes_total",
    "counter",
    "Bytes of request bodies received.",
    programs=("api",),
)
WORKER_RUNS = Metric(
    "stenopool_worker_runs_in_progress",
    "gauge",
    "Runs that this worker has started and not seen the end of.",
    ("pool",),
    "pool: `cpu`, `gpu`",
    programs=("worker",),
)
WORKER_LAST_POLL = Metric(
    "stenopool_worker_last_poll_timestamp_seconds",
    "gauge",
    "When this worker last asked for work, in Unix time.",
    ("pool",),
    "pool: `cpu`, `gpu`",
    programs=("worker",),
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
