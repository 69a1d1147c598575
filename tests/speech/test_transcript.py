"""The transcript model: valid values, and that it survives a round trip through JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stenopool.speech.transcript import Segment, SpeakerTurn, Transcript, Word

times = st.none() | st.floats(0, 1e5)
words = st.builds(Word, word=st.text(max_size=5), start=times, end=times, probability=st.none() | st.floats(0, 1))
segments = st.builds(
    Segment,
    start=st.floats(0, 1e5),
    end=st.floats(0, 1e5),
    text=st.text(max_size=20),
    speaker=st.none() | st.just("SPEAKER_00"),
    words=st.lists(words, max_size=4),
)
transcripts = st.builds(Transcript, text=st.text(max_size=20), segments=st.lists(segments, max_size=4))


@given(transcripts)
def test_a_transcript_survives_its_json(transcript: Transcript) -> None:
    assert Transcript.model_validate_json(transcript.model_dump_json()) == transcript


@given(transcripts)
def test_times_have_three_decimals_and_every_key_is_present(transcript: Transcript) -> None:
    written = json.loads(transcript.model_dump_json())
    assert written.keys() >= Transcript.model_fields.keys() | {"word_segments"}
    for segment in written["segments"]:
        assert segment.keys() == Segment.model_fields.keys()
        assert segment["start"] == round(segment["start"], 3)
    spoken = [word for segment in written["segments"] for word in segment["words"]]
    assert written["word_segments"] == spoken
    assert all(word["score"] == word["probability"] for word in spoken)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_times_must_be_finite(number: float) -> None:
    for make in (
        lambda: Word(word="x", start=number),
        lambda: Segment(start=0, end=number, text=""),
        lambda: SpeakerTurn(start=number, end=1, speaker="A"),
        lambda: Transcript(duration=number),
        lambda: Word(word="x", probability=number),
    ):
        with pytest.raises(ValidationError, match="finite"):
            make()


def test_readers_of_whisper_or_whisperx_json_find_their_keys() -> None:
    word = Word(word="Hi", start=0, end=1, probability=0.5, speaker="SPEAKER_00")
    made = Transcript(text="Hi", language="en", segments=[Segment(start=0, end=1, text="Hi", words=[word])])
    written = json.loads(made.model_dump_json())
    assert written.keys() >= {"text", "segments", "language", "word_segments"}
    whisper = {"id", "start", "end", "text", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob"}
    assert written["segments"][0].keys() >= whisper
    assert written["word_segments"][0].items() >= {"word": "Hi", "start": 0, "end": 1, "score": 0.5}.items()
