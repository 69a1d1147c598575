"""A recording, and the fingerprint that names one item of work on it."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from stenopool.options import TranscriptionOptions
from stenopool.pipeline.checkpoints import STAGE_VERSIONS


class Recording(BaseModel):
    """One audio or video object in the source, as a listing gives it.

    ``key`` is relative to the source; ``uri`` is the whole address. ``etag`` tells one content from another: the
    store's own, or size and modification time for a folder.
    """

    model_config = ConfigDict(frozen=True)

    uri: str
    key: str
    size: int
    etag: str
    modified: float


def fingerprint(recording: Recording, options: TranscriptionOptions) -> str:
    """Digest of recording identity + options + stage versions: 32 hex digits, the name of one item of work.

    Options at their default are left out, so a release that adds an option makes nothing pending again; engine,
    model and diarization always stand in it.
    """
    return fingerprinter(options)(recording)


def fingerprinter(options: TranscriptionOptions) -> Callable[[Recording], str]:
    """`fingerprint` for many recordings: what the options add is worked out once."""
    chosen: dict[str, Any] = options.model_dump(mode="json", exclude_defaults=True)
    chosen |= {"engine": options.engine, "model": options.model, "diarization": options.diarization}
    options_text, stages_text = _json(chosen), _json(STAGE_VERSIONS)

    def digest(recording: Recording) -> str:
        # JSON with its keys sorted, put together by hand: a million times over, that is most of what planning takes.
        text = (
            f'{{"etag":{_json(recording.etag)},"key":{_json(recording.key)},"options":{options_text},'
            f'"size":{recording.size},"stages":{stages_text}}}'
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    return digest


_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode
