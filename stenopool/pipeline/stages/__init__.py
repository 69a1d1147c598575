"""The stages of the pipeline, in order. Each stage declares which stages it waits for."""

from stenopool.pipeline.context import Stage
from stenopool.pipeline.stages.prepare import FETCH, NORMALIZE, STORE
from stenopool.pipeline.stages.publish import ASSIGN, QUARANTINE, RECEIPT, RENDER, UPLOAD
from stenopool.pipeline.stages.transcribe import ALIGN, DIARIZE, FETCH_AUDIO, LOAD_MODELS, TRANSCRIBE

_PREPARE = (FETCH, NORMALIZE, STORE)
_TRANSCRIBE = (LOAD_MODELS, FETCH_AUDIO, TRANSCRIBE, ALIGN, DIARIZE, ASSIGN, UPLOAD, RECEIPT)

PREPARE_STAGES: tuple[Stage, ...] = (*_PREPARE, QUARANTINE)
TRANSCRIBE_STAGES: tuple[Stage, ...] = (*_TRANSCRIBE, QUARANTINE)
SHARD_STAGES: tuple[Stage, ...] = (*_PREPARE, *_TRANSCRIBE, QUARANTINE)
RENDER_STAGES: tuple[Stage, ...] = (FETCH, NORMALIZE, RENDER, QUARANTINE)
