"""Names given to a transcript's speakers: stored next to the transcript, and applied wherever it is shown.

    <destination>/<key>/speakers.json      {"fingerprint": ..., "names": {"SPEAKER_00": "Anna"}}

The transcript's JSON is not changed, so its receipt stays valid; the names appear in the formats rendered from it. They
belong to one fingerprint: after transcribing with other options, SPEAKER_00 may be a different person.
"""

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from stenopool.speech.renderers.words import clean
from stenopool.speech.transcript import Segment, SpeakerTurn, Transcript, Word
from stenopool.storage.base import ObjectStore

P = TypeVar("P", Segment, SpeakerTurn, Word)


def _clean_name(name: str) -> str:
    name = clean(name)
    if not name:
        raise ValueError("a name cannot be empty; omit the speaker to remove the name")
    return name


SpeakerName = Annotated[str, Field(max_length=100), AfterValidator(_clean_name)]


class SpeakerNames(BaseModel):
    """``names``: by diarization label. Two labels with the same name are the same person."""

    fingerprint: str
    names: dict[str, SpeakerName] = {}


def names_key(recording_key: str) -> str:
    """The key of the names, next to the transcript. Use an empty key if the store is the recording's own folder."""
    return f"{recording_key}/speakers.json" if recording_key else "speakers.json"


def read(destination: ObjectStore, recording_key: str, transcript: Transcript) -> dict[str, str]:
    """The names of this transcript's speakers; empty if the stored names belong to another fingerprint."""
    return parse(destination.get_bytes(names_key(recording_key), None), transcript)


def parse(content: bytes | str | None, transcript: Transcript) -> dict[str, str]:
    """Like `read`, from the file's content; ``content``: None if there is no file."""
    try:
        kept = SpeakerNames.model_validate_json(content or b"")
    except ValidationError:  # no file, or an unrelated file of the same name
        return {}
    return kept.names if kept.fingerprint == fingerprint_of(transcript) else {}


def write(destination: ObjectStore, recording_key: str, transcript: Transcript, names: dict[str, str]) -> None:
    """Store these names for this transcript's speakers, replacing any others."""
    write_for(destination, recording_key, fingerprint_of(transcript), names)


def write_for(destination: ObjectStore, recording_key: str, fingerprint: str, names: dict[str, str]) -> None:
    """Like `write`, for the transcript with this fingerprint."""
    kept = SpeakerNames(fingerprint=fingerprint, names=names)
    if kept.names:
        content = kept.model_dump_json(indent=1).encode()
        destination.put_bytes(names_key(recording_key), content, content_type="application/json")
    else:
        destination.delete(names_key(recording_key))


def apply_names(transcript: Transcript, names: dict[str, str]) -> Transcript:
    """A copy of the transcript with names in place of labels."""
    if not names:
        return transcript

    def named(part: P) -> P:
        return part.model_copy(update={"speaker": names.get(part.speaker or "", part.speaker)})

    return transcript.model_copy(
        update={
            "segments": [
                named(segment).model_copy(update={"words": [named(word) for word in segment.words]})
                for segment in transcript.segments
            ],
            "speakers": list(dict.fromkeys(names.get(label, label) for label in transcript.speakers)),
            "turns": [named(turn) for turn in transcript.turns],
        }
    )


def list_labels(transcript: Transcript) -> list[str]:
    """All speaker labels of this transcript, in the order in which they are listed or speak."""
    spoken = (word.speaker or segment.speaker for segment in transcript.segments for word in segment.words)
    turns = (turn.speaker for turn in transcript.turns)
    whole = (segment.speaker for segment in transcript.segments)
    return list(dict.fromkeys(label for label in (*transcript.speakers, *turns, *whole, *spoken) if label))


def fingerprint_of(transcript: Transcript) -> str:
    """The transcript's fingerprint, to which names belong; empty if it has none."""
    return transcript.provenance.fingerprint if transcript.provenance else ""
