"""Figures as `python -m benchmarks.compare` returns them, with numbers that are easy to check."""

from datetime import UTC, datetime
from typing import Any

from benchmarks.compare.figures import Contents, Figures, Growth, Machine, Measurement
from benchmarks.compare.systems import SystemName

MB = 1 << 20


def measurement(system: SystemName, round: int, seconds: float, **others: Any) -> Measurement:
    """60 seconds of audio, of the kind calls, transcribed in this many seconds."""
    values: dict[str, Any] = {
        "kind": "calls",
        "audio_seconds": 60.0,
        "first_result": 1.0,
        "wer": 0.1,
        "failed": 0,
        "peak_memory": 500 * MB,
        "start_seconds": 5.0,
        "load_seconds": 1.0,
    }
    return Measurement(system=system, round=round, seconds=seconds, **values | others)


def figures(*measurements: Measurement, growth: tuple[Growth, ...] = (), **others: Any) -> Figures:
    """All data except the measurements."""
    values: dict[str, Any] = {
        "measured_at": datetime(2026, 11, 22, 12, tzinfo=UTC),
        "command": "python -m benchmarks.compare calls",
        "machine": Machine(
            processor="a processor",
            cores=2,
            memory=24 << 30,
            gpu=None,
            system="Linux",
            versions={"stenopool": "0.1.0"},
            commit="abc1234",
        ),
        "model": "base",
        "device": "cpu",
        "compute_type": "int8",
        "beam": 5,
        "batch": 8,
        "rounds": 3,
        "contents": {"calls": Contents(recordings=6, audio_seconds=60.0, said=6)},
        "measurements": list(measurements),
        "growth": list(growth),
    }
    return Figures(**values | others)


def grown(recordings: int, seconds: float, round: int = 0) -> Growth:
    """The whole flow on this many recordings."""
    return Growth(
        recordings=recordings,
        round=round,
        audio_seconds=10.0 * recordings,
        seconds=seconds,
        peak_memory=600 * MB,
        memory=[(recordings // 2, 500 * MB), (recordings, 600 * MB)],
    )
