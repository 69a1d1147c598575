"""Fixtures of the diarizers' own tests are in `tests.speech.diarizers.fixtures`, shared with the contract."""

from tests.speech.diarizers.fixtures import local_pipeline, prepare

__all__ = ["local_pipeline", "prepare"]
