"""Speakers renamed: the names are kept beside the transcript, and the files that say them are written anew."""

import asyncio

from stenopool.api.problems import Problem, invalid
from stenopool.api.service import Service
from stenopool.api.transcripts import as_made, must_be_done, rendered
from stenopool.pipeline import receipts, speaker_names
from stenopool.pipeline.receipts import output_key
from stenopool.speech.renderers import CONTENT_TYPES
from stenopool.speech.transcript import Transcript

_TRIES = 3


async def names(house: Service, key: str) -> dict[str, str | None]:
    """Each speaker's name by label, None where none was given. The problem 409 while there is no transcript."""
    await must_be_done(house, key)
    return await asyncio.to_thread(_names, house, key)


async def rename(house: Service, key: str, given: dict[str, str]) -> dict[str, str | None]:
    """Give these names and no others. The problem 422 for labels that the transcript does not have."""
    await must_be_done(house, key)
    return await asyncio.to_thread(_rename, house, key, given)


def _names(house: Service, key: str) -> dict[str, str | None]:
    transcript = as_made(house.destination, key)
    kept = speaker_names.read(house.destination, key, transcript)
    return {label: kept.get(label) for label in speaker_names.list_labels(transcript)}


def _rename(house: Service, key: str, given: dict[str, str]) -> dict[str, str | None]:
    # A worker may write another transcript meanwhile. Then ours would stand beside it: look again, and mend it.
    for _ in range(_TRIES):
        before = house.destination.head(output_key(key, "json")).etag
        transcript = as_made(house.destination, key)
        known = speaker_names.list_labels(transcript)
        if unknown := [label for label in given if label not in known]:
            raise invalid(f"The transcript has no speaker {unknown[0]!r}.", speakers=known)
        speaker_names.write(house.destination, key, transcript, given)
        _write_files(house, key, transcript, given)
        if house.destination.head(output_key(key, "json")).etag == before:
            return {label: given.get(label) for label in known}
    raise Problem(409, "RECORDING_BUSY", "The recording is being transcribed anew.", "Name its speakers after that.")


def _write_files(house: Service, key: str, transcript: Transcript, given: dict[str, str]) -> None:
    """All but the JSON: that is the work's own, and what everything else can be made from again."""
    transcript = speaker_names.apply_names(transcript, given)
    listed = receipts.list_receipts(house.destination, prefix=receipts.receipt_stem(key))
    for format in {format for name in listed for format in name.formats} - {"json"}:
        content = rendered(house.destination, key, transcript, format).encode()
        house.destination.put_bytes(output_key(key, format), content, content_type=CONTENT_TYPES[format])
