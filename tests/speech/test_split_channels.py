"""Merged channels are in one order: no words are lost, and each keeps its channel."""

from hypothesis import given
from hypothesis import strategies as st

from stenopool.speech.speakers import merge_channels
from stenopool.speech.transcript import DECODE_ERRORS, NO_SPEECH, Segment, Transcript, Word


def _said(text: str, start: float, end: float | None = None) -> Segment:
    end = start + 1 if end is None else end
    return Segment(start=start, end=end, text=f" {text}", words=[Word(word=text, start=start, end=end)])


def _channel(*segments: Segment, language: str | None = "en", **more: object) -> Transcript:
    return Transcript.model_validate({"segments": segments, "language": language, "duration": 10.0, **more})


def test_a_call_reads_as_a_conversation() -> None:
    agent = _channel(_said("Hello?", 0), _said("Fine.", 4))
    customer = _channel(_said("How are you?", 2))
    merged = merge_channels([agent, customer], ["agent", "customer"], as_speakers=True)
    assert merged.text == "Hello? How are you? Fine."
    assert [(s.id, s.channel, s.speaker) for s in merged.segments] == [
        (0, 0, "agent"),
        (1, 1, "customer"),
        (2, 0, "agent"),
    ]
    assert [word.speaker for word in merged.word_segments] == ["agent", "customer", "agent"]
    assert merged.speakers == ["agent", "customer"]
    assert [channel.name for channel in merged.channels] == ["agent", "customer"]
    assert merged.duration == 10.0


def test_without_speakers_only_the_channel_is_shown() -> None:
    merged = merge_channels([_channel(_said("Hello", 0))], ["CHANNEL_0"], as_speakers=False)
    assert merged.segments[0].channel == 0
    assert merged.segments[0].speaker is None
    assert merged.speakers == []


def test_the_language_is_the_one_with_the_most_speech() -> None:
    english = _channel(_said("Yes.", 0), language="en", language_probability=0.99)
    german = _channel(_said("Ausführlich", 1, 9), language="de", language_probability=0.8)
    merged = merge_channels([english, german], ["a", "b"], as_speakers=True)
    assert (merged.language, merged.language_probability) == ("de", 0.8)
    assert [channel.language for channel in merged.channels] == ["en", "de"]


def test_one_silent_channel_does_not_make_the_recording_silent() -> None:
    silent = _channel(language=None, flags=[NO_SPEECH, DECODE_ERRORS])
    spoken = _channel(_said("Hello", 0), flags=[DECODE_ERRORS])
    merged = merge_channels([silent, spoken], ["a", "b"], as_speakers=True)
    assert merged.flags == [DECODE_ERRORS]
    assert merged.speakers == ["b"]
    assert merged.language == "en"


def test_silence_on_all_channels_is_silence() -> None:
    merged = merge_channels([_channel(language=None, flags=[NO_SPEECH])] * 2, ["a", "b"], as_speakers=True)
    assert merged.flags == [NO_SPEECH]
    assert (merged.text, merged.segments, merged.speakers, merged.language) == ("", [], [], None)


some_segments = st.lists(st.builds(_said, st.text("abc", min_size=1, max_size=3), st.floats(0, 9)), max_size=6)


@given(st.lists(some_segments, min_size=1, max_size=3))
def test_no_words_are_lost_duplicated_or_reordered(spoken: list[list[Segment]]) -> None:
    names = [f"CHANNEL_{number}" for number in range(len(spoken))]
    merged = merge_channels([_channel(*segments) for segments in spoken], names, as_speakers=True)
    expected = sorted((number, s.start, s.text) for number, segments in enumerate(spoken) for s in segments)
    assert sorted((s.channel, s.start, s.text) for s in merged.segments) == expected
    assert [s.start for s in merged.segments] == sorted(s.start for s in merged.segments)
    assert [s.id for s in merged.segments] == list(range(len(merged.segments)))
    assert all(s.speaker == names[s.channel or 0] for s in merged.segments)
