"""Names that people give to speakers: stored next to the transcript, for that transcript only."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from stenopool.pipeline import speaker_names
from stenopool.pipeline.speaker_names import SpeakerNames, apply_names, list_labels, names_key
from stenopool.speech.renderers import render
from stenopool.speech.transcript import Transcript
from stenopool.storage import open_store
from tests.speech.renderers.samples import conversation

NAMES = {"SPEAKER_00": "Anna", "SPEAKER_01": "Börje Öst"}


@pytest.mark.parametrize("format", ["json", "srt", "vtt", "txt", "rttm", "html"])
def test_every_format_shows_the_names(format: str) -> None:
    said = render(apply_names(conversation(), NAMES), format)  # type: ignore[arg-type]
    assert "Anna" in said
    assert "SPEAKER_0" not in said


def test_the_given_transcript_is_not_changed() -> None:
    transcript = conversation()
    apply_names(transcript, NAMES)
    assert transcript == conversation()


def test_two_labels_with_one_name_are_one_person() -> None:
    together = apply_names(conversation(), dict.fromkeys(NAMES, "Anna"))
    assert together.speakers == ["Anna"]
    assert list_labels(together) == ["Anna"]


def test_names_are_stored_for_one_fingerprint_only(tmp_path: Path) -> None:
    store, transcript = open_store(str(tmp_path)), conversation()
    speaker_names.write(store, "a.wav", transcript, NAMES)
    assert speaker_names.read(store, "a.wav", transcript) == NAMES
    assert transcript.provenance
    other = transcript.model_copy(
        update={"provenance": transcript.provenance.model_copy(update={"fingerprint": "another"})}
    )
    assert speaker_names.read(store, "a.wav", other) == {}
    assert speaker_names.read(store, "b.wav", transcript) == {}
    speaker_names.write(store, "a.wav", transcript, {})
    assert not store.exists(names_key("a.wav"))


def test_a_foreign_file_gives_no_names(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_bytes(names_key("a.wav"), b"[]")
    assert speaker_names.read(store, "a.wav", Transcript()) == {}


def test_a_name_is_one_line_of_text() -> None:
    assert SpeakerNames(fingerprint="", names={"A": " Ann\n\tB. "}).names == {"A": "Ann B."}
    for name in ("", " \n", "x" * 101):
        with pytest.raises(ValidationError):
            SpeakerNames(fingerprint="", names={"A": name})
