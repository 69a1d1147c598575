"""Names that people give to a transcript's speakers: kept beside it, and applied wherever it is shown.

    <destination>/<key>/speakers.json      {"fingerprint": ..., "names": {"SPEAKER_00": "Anna"}}

The transcript's JSON stays as the work made it, so that its receipt stays true; whatever is rendered from it says the
names. They belong to one fingerprint: made anew with other options, SPEAKER_00 may be somebody else.
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
        raise ValueError("a name has letters; leave the speaker out to take its name away")
    return name


SpeakerName = Annotated[str, Field(max_length=100), AfterValidator(_clean_name)]


class SpeakerNames(BaseModel):
    """``names``: by the label that diarization gave. Two labels with one name are one person."""

    fingerprint: str
    names: dict[str, SpeakerName] = {}


def names_key(recording_key: str) -> str:
    """Where the names lie: beside the transcript. An empty key is for a store that is the recording's own folder."""
    return f"{recording_key}/speakers.json" if recording_key else "speakers.json"


def read(destination: ObjectStore, recording_key: str, transcript: Transcript) -> dict[str, str]:
    """The names given to this transcript's speakers; none if they were given to another fingerprint's."""
    return parse(destination.get_bytes(names_key(recording_key), None), transcript)


def parse(content: bytes | str | None, transcript: Transcript) -> dict[str, str]:
    """As `read`, of the file's content; None if there is no file."""
    try:
        kept = SpeakerNames.model_validate_json(content or b"")
    except ValidationError:  # there is none, or somebody's file of the same name
        return {}
    return kept.names if kept.fingerprint == fingerprint_of(transcript) else {}


def write(destination: ObjectStore, recording_key: str, transcript: Transcript, names: dict[str, str]) -> None:
    """Keep these names, and no others, for this transcript's speakers."""
    write_for(destination, recording_key, fingerprint_of(transcript), names)


def write_for(destination: ObjectStore, recording_key: str, fingerprint: str, names: dict[str, str]) -> None:
    """As `write`, for the transcript with this fingerprint."""
    kept = SpeakerNames(fingerprint=fingerprint, names=names)
    if kept.names:
        content = kept.model_dump_json(indent=1).encode()
        destination.put_bytes(names_key(recording_key), content, content_type="application/json")
    else:
        destination.delete(names_key(recording_key))


def apply_names(transcript: Transcript, names: dict[str, str]) -> Transcript:
    """The transcript with names for labels everywhere; the one given is not changed."""
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
    """All labels that speakers of this transcript have, in the order in which they are listed or speak."""
    spoken = (word.speaker or segment.speaker for segment in transcript.segments for word in segment.words)
    turns = (turn.speaker for turn in transcript.turns)
    whole = (segment.speaker for segment in transcript.segments)
    return list(dict.fromkeys(label for label in (*transcript.speakers, *turns, *whole, *spoken) if label))


def fingerprint_of(transcript: Transcript) -> str:
    """The fingerprint that names belong to; empty for a transcript without one."""
    return transcript.provenance.fingerprint if transcript.provenance else ""
