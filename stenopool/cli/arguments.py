"""Arguments and flags that several commands share."""

from typing import Annotated

import typer

SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Recordings: a folder, s3://bucket/prefix or block://TYPE/NAME/prefix.")
]
DestinationArgument = Annotated[str, typer.Argument(metavar="DESTINATION", help="Transcripts: written like SOURCE.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one machine-readable object to stdout.")]
