"""Speakers renamed: their names are stored beside the transcript, and the files that contain them are written again."""

from stenopool.api.problems import Problem, invalid
from stenopool.api.transcript_files import read_labelled, render_file
from stenopool.pipeline import receipts, speaker_names
from stenopool.pipeline.receipts import output_key
from stenopool.speech.renderers import CONTENT_TYPES
from stenopool.speech.transcript import Transcript
from stenopool.storage import ObjectStore

_TRIES = 3


def read_names(destination: ObjectStore, key: str) -> dict[str, str | None]:
    """Each speaker's name by label; None for a speaker without a name."""
    transcript = read_labelled(destination, key)
    kept = speaker_names.read(destination, key, transcript)
    return {label: kept.get(label) for label in speaker_names.list_labels(transcript)}


def rename_speakers(destination: ObjectStore, key: str, names: dict[str, str]) -> dict[str, str | None]:
    """Give these names and no others. The problem 422 for labels that the transcript does not have."""
    # A worker may write another transcript meanwhile, which ours would not match. Then read it and write again.
    for _ in range(_TRIES):
        before = destination.head(output_key(key, "json")).etag
        transcript = read_labelled(destination, key)
        known = speaker_names.list_labels(transcript)
        if unknown := [label for label in names if label not in known]:
            raise invalid(f"The transcript has no speaker {unknown[0]!r}.", speakers=known)
        speaker_names.write(destination, key, transcript, names)
        _write_files(destination, key, transcript, names)
        if destination.head(output_key(key, "json")).etag == before:
            return {label: names.get(label) for label in known}
    raise Problem(409, "RECORDING_BUSY", "The recording is being transcribed again.", "Name its speakers after that.")


def _write_files(destination: ObjectStore, key: str, transcript: Transcript, names: dict[str, str]) -> None:
    """All formats but JSON, which stays as the worker wrote it: everything else can be rendered from it."""
    transcript = speaker_names.apply_names(transcript, names)
    listed = receipts.list_receipts(destination, prefix=receipts.receipt_stem(key))
    for format in {format for name in listed for format in name.formats} - {"json"}:
        content = render_file(destination, key, transcript, format).encode()
        destination.put_bytes(output_key(key, format), content, content_type=CONTENT_TYPES[format])
