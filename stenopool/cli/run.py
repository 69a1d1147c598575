"""``stenopool run``: transcribe the recordings of a folder or prefix, here and now."""

from stenopool.cli.arguments import DestinationArgument, JsonFlag, SourceArgument
from stenopool.cli.ingest import ingest, print_reports
from stenopool.cli.parameters import with_options
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Selection


@with_options(options=TranscriptionOptions, execution=ExecutionOptions, selection=Selection)
def run(
    source: SourceArgument,
    destination: DestinationArgument,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    selection: Selection,
    as_json: JsonFlag = False,
) -> None:
    """Transcribe every recording that has no receipt yet; run it again at any time.

    Example: stenopool run s3://calls/2026-11 s3://transcripts/2026-11 --language en
    """
    print_reports(ingest(source, destination, options, execution, selection), as_json=as_json)
