"""The events that callbacks carry: models, so that the OpenAPI document describes what is sent."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from stenopool.api.batch_states import BatchState
from stenopool.api.schema import Described
from stenopool.api.states import RecordingState, Submitted


class _Event(Described):
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When the event was created."""


class RecordingEnded(RecordingState):
    """A recording, as `GET /v1/recordings/{id}` returns it."""

    duration: float | None = None
    """Seconds of audio, if it was completed."""
    language: str | None = None
    """The main language; null if it is unknown."""


class RecordingEvent(_Event):
    """A recording has ended."""

    type: Literal["recording.completed", "recording.failed", "recording.cancelled"]
    """What happened."""
    data: RecordingEnded | Submitted
    """The recording; for a key without the scope `read`, only its id and state."""


class BatchEvent(_Event):
    """A batch has ended."""

    type: Literal["batch.completed", "batch.failed", "batch.cancelled"]
    """What happened."""
    data: BatchState | Submitted
    """The batch with its counts; for a key without the scope `read`, only its id and state."""


class CallbackTestEvent(_Event):
    """A test of callbacks."""

    type: Literal["callback.test"] = "callback.test"
    """What happened."""
    data: dict[str, str] = Field(default_factory=dict)
    """Empty."""


EVENTS: dict[str, type[_Event]] = {"recording": RecordingEvent, "batch": BatchEvent, "callback.test": CallbackTestEvent}
"""The events, by the name that their types start with."""
