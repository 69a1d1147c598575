"""The events that callbacks carry: models, so that the OpenAPI document describes what is sent."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from stenopool.api.batch_states import BatchState
from stenopool.api.schema import Described
from stenopool.api.states import RecordingState, Submitted


class _Event(Described):
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    """When the event was made."""


class RecordingEnded(RecordingState):
    """A recording, as `GET /v1/recordings/{id}` has it."""

    duration: float | None = None
    """Seconds of audio, of one that is completed."""
    language: str | None = None
    """The language that is spoken most; null where it is not known."""


class RecordingEvent(_Event):
    """A recording has ended."""

    type: Literal["recording.completed", "recording.failed", "recording.cancelled"]
    """What happened."""
    data: RecordingEnded | Submitted
    """To which recording; of a key without the scope `read`, its id and state."""


class BatchEvent(_Event):
    """A batch has ended."""

    type: Literal["batch.completed", "batch.failed", "batch.cancelled"]
    """What happened."""
    data: BatchState | Submitted
    """To which batch, with its counts; of a key without the scope `read`, its id and state."""


class CallbackTestEvent(_Event):
    """Somebody tries whether callbacks arrive."""

    type: Literal["callback.test"] = "callback.test"
    """What happened."""
    data: dict[str, str] = Field(default_factory=dict)
    """Empty."""


EVENTS: dict[str, type[_Event]] = {"recording": RecordingEvent, "batch": BatchEvent, "callback.test": CallbackTestEvent}
"""The events by name: what their types begin with."""
