"""Models loaded while something else, such as Prefect's server, takes time to start."""

from contextlib import suppress
from itertools import islice

from stenopool.errors import StenopoolError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Selection, list_entries
from stenopool.speech.loaded import loaded_models
from stenopool.storage import ObjectStore

# One page of a listing. A batch whose new recordings begin later than that is a long one: its start does not matter.
_LISTED = 1000


def preload_models(
    source: ObjectStore,
    destination: ObjectStore,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    selection: Selection,
) -> None:
    """Load the models of this process if the first recordings listed include a new one.

    Raises nothing: an error here occurs again in the flow, which reports it.
    """
    with suppress(StenopoolError):
        listed = list_entries(source, destination, options, selection)
        if all(entry.state != "new" for entry in islice(listed, _LISTED)):
            return
        loaded_models().engine(options, execution)
        if options.diarization != "off":
            loaded_models().diarizer(options.diarization, execution)
