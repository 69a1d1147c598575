"""Fixtures of the diarizers' own tests are in `tests.diarizers.fixtures`, shared with the contract."""

from tests.diarizers.fixtures import local_pipeline, prepare

__all__ = ["local_pipeline", "prepare"]
