"""``stenopool bench``: where the comparison with other systems is."""

from stenopool.errors import ErrorCode, SetupError


def bench() -> None:
    """Say how to compare Stenopool with whisperX and faster-whisper on this machine.

    Example: stenopool bench
    """
    raise SetupError(
        ErrorCode.EXTRA_MISSING,
        "The comparison with other systems is not part of the installed package.",
        remedy="In a checkout of the repository: uv sync --extra bench && uv run python -m benchmarks.compare FOLDER",
    )
