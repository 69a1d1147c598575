"""Speakers renamed: the names are kept beside the transcript, and the files that say them are written anew."""

import asyncio

from stenopool.api.problems import Problem, invalid
from stenopool.api.service import Service
from stenopool.api.transcript_files import read_unnamed, render_file, require_transcript
from stenopool.pipeline import receipts, speaker_names
from stenopool.pipeline.receipts import output_key
from stenopool.speech.renderers import CONTENT_TYPES
from stenopool.speech.transcript import Transcript

_TRIES = 3


async def read_names(service: Service, key: str) -> dict[str, str | None]:
    """Each speaker's name by label, None where none was given. The problem 409 while there is no transcript."""
    await require_transcript(service, key)
    return await asyncio.to_thread(_names, service, key)


async def rename_speakers(service: Service, key: str, given: dict[str, str]) -> dict[str, str | None]:
    """Give these names and no others. The problem 422 for labels that the transcript does not have."""
    await require_transcript(service, key)
    return await asyncio.to_thread(_rename, service, key, given)


def _names(service: Service, key: str) -> dict[str, str | None]:
    transcript = read_unnamed(service.destination, key)
    kept = speaker_names.read(service.destination, key, transcript)
    return {label: kept.get(label) for label in speaker_names.list_labels(transcript)}


def _rename(service: Service, key: str, given: dict[str, str]) -> dict[str, str | None]:
    # A worker may write another transcript meanwhile. Then ours would stand beside it: look again, and mend it.
    for _ in range(_TRIES):
        before = service.destination.head(output_key(key, "json")).etag
        transcript = read_unnamed(service.destination, key)
        known = speaker_names.list_labels(transcript)
        if unknown := [label for label in given if label not in known]:
            raise invalid(f"The transcript has no speaker {unknown[0]!r}.", speakers=known)
        speaker_names.write(service.destination, key, transcript, given)
        _write_files(service, key, transcript, given)
        if service.destination.head(output_key(key, "json")).etag == before:
            return {label: given.get(label) for label in known}
    raise Problem(409, "RECORDING_BUSY", "The recording is being transcribed anew.", "Name its speakers after that.")


def _write_files(service: Service, key: str, transcript: Transcript, given: dict[str, str]) -> None:
    """All but the JSON: that is the work's own, and what everything else can be made from again."""
    transcript = speaker_names.apply_names(transcript, given)
    listed = receipts.list_receipts(service.destination, prefix=receipts.receipt_stem(key))
    for format in {format for name in listed for format in name.formats} - {"json"}:
        content = render_file(service.destination, key, transcript, format).encode()
        service.destination.put_bytes(output_key(key, format), content, content_type=CONTENT_TYPES[format])
