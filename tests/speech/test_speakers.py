"""Words and turns: no word is lost, and each has the right speaker."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stenopool.speech.speakers import NEAREST, assign_speakers, overlaps
from stenopool.speech.transcript import Segment, SpeakerTurn, Transcript, Word


def turn(start: float, end: float, speaker: str) -> SpeakerTurn:
    return SpeakerTurn(start=start, end=end, speaker=speaker)


def said(text: str, start: float = 0.0, each: float = 1.0) -> Segment:
    """A segment with consecutive words, one second each."""
    words = [
        Word(word=f" {word}", start=start + i * each, end=start + (i + 1) * each) for i, word in enumerate(text.split())
    ]
    return Segment(start=start, end=start + len(words) * each, text=f" {text}", words=words)


def transcript(*segments: Segment) -> Transcript:
    return Transcript(segments=list(segments), text="".join(segment.text for segment in segments).strip())


def lines(result: Transcript) -> list[tuple[str | None, str]]:
    return [(segment.speaker, segment.text.strip()) for segment in result.segments]


def of_words(result: Transcript) -> list[str | None]:
    return [word.speaker for word in result.word_segments]


# -- examples ---------------------------------------------------------------------------------------------------------


def test_a_segment_is_cut_where_the_speaker_changes() -> None:
    result = assign_speakers(transcript(said("How are you? I am fine.")), [turn(0, 3, "A"), turn(3, 6, "B")])
    assert lines(result) == [("A", "How are you?"), ("B", "I am fine.")]
    assert [(s.id, s.start, s.end) for s in result.segments] == [(0, 0.0, 3.0), (1, 3.0, 6.0)]
    assert result.speakers == ["A", "B"]
    assert result.turns == [turn(0, 3, "A"), turn(3, 6, "B")]


def test_an_undivided_segment_keeps_all_its_fields() -> None:
    segment = said("One two.").model_copy(update={"text": " One  two.", "language": "en", "flags": ["low_confidence"]})
    (result,) = assign_speakers(transcript(segment), [turn(0, 2, "A")]).segments
    assert (result.text, result.start, result.end, result.language) == (" One  two.", 0.0, 2.0, "en")
    assert result.flags == ["low_confidence"]


def test_the_given_transcript_is_not_changed() -> None:
    given_transcript = transcript(said("How are you? I am fine."))
    before = given_transcript.model_dump_json()
    assign_speakers(given_transcript, [turn(0, 3, "A"), turn(3, 6, "B")])
    assert given_transcript.model_dump_json() == before


def test_the_speaker_with_most_time_wins_and_the_earlier_turn_wins_a_tie() -> None:
    assert of_words(assign_speakers(transcript(said("so")), [turn(0, 0.4, "A"), turn(0.4, 1, "B")])) == ["B"]
    assert of_words(assign_speakers(transcript(said("so")), [turn(0.5, 1, "B"), turn(0, 0.5, "A")])) == ["A"]
    # Two short turns of one person outweigh a longer turn of another.
    shared = [turn(0, 0.3, "A"), turn(0.3, 0.7, "B"), turn(0.7, 1, "A")]
    assert of_words(assign_speakers(transcript(said("so")), shared)) == ["A"]


def test_a_word_outside_all_turns_gets_the_nearest_speaker_within_limits() -> None:
    near = [turn(2, 3, "A"), turn(1 + NEAREST + 0.01, 1.9, "B")]
    assert of_words(assign_speakers(transcript(said("so")), near)) == [None]
    assert of_words(assign_speakers(transcript(said("so")), [turn(1 + NEAREST - 0.01, 2, "A")])) == ["A"]
    # The turn that ended last is the nearest, although another started later.
    assert of_words(assign_speakers(transcript(said("so", start=5)), [turn(0, 4.9, "A"), turn(1, 2, "B")])) == ["A"]


def test_words_without_times_follow_their_neighbours() -> None:
    words = [
        Word(word=" 20"),
        Word(word=" percent.", start=0.0, end=1.0),
        Word(word=" Yes", start=1.0, end=3.0),
        Word(word=" 30", start=3.0),
    ]
    segment = Segment(start=0, end=4, text=" 20 percent. Yes 30", words=words)
    result = assign_speakers(transcript(segment), [turn(0, 1, "A"), turn(1, 3, "B")])
    assert lines(result) == [("A", "20 percent."), ("B", "Yes 30")]
    assert [(s.start, s.end) for s in result.segments] == [(0.0, 1.0), (1.0, 4.0)]


def test_a_segment_whose_words_have_no_times_uses_its_own() -> None:
    segment = Segment(start=2, end=4, text=" 20 30", words=[Word(word=" 20"), Word(word=" 30")])
    assert lines(assign_speakers(transcript(segment), [turn(0, 2, "A"), turn(2, 4, "B")])) == [("B", "20 30")]


def test_segments_without_words_are_assigned_by_overlap() -> None:
    segments = [
        Segment(start=0, end=4, text=" Hello."),
        Segment(start=4, end=5, text=" Hi."),
        Segment(start=9, end=10, text=""),
    ]
    result = assign_speakers(transcript(*segments), [turn(0, 3, "A"), turn(3, 5, "B")])
    assert [segment.speaker for segment in result.segments] == ["A", "B", None]


def test_an_uncertain_word_inside_a_sentence_stays_with_the_sentence() -> None:
    turns = [turn(0, 2.4, "A"), turn(2.4, 3.1, "B"), turn(2.9, 6, "A")]
    assert lines(assign_speakers(transcript(said("this is what we all think.")), turns)) == [
        ("A", "this is what we all think.")
    ]


def test_an_uncertain_word_at_the_edge_of_a_sentence_stays_with_the_sentence() -> None:
    # B's turn starts before A's last word is over.
    turns = [turn(0, 3.4, "A"), turn(3.4, 8, "B")]
    result = assign_speakers(transcript(said("we all agree then. No we do not.")), turns)
    assert lines(result) == [("A", "we all agree then."), ("B", "No we do not.")]


def test_a_word_that_clearly_belongs_to_another_speaker_is_theirs() -> None:
    turns = [turn(0, 2, "A"), turn(2, 3, "B"), turn(3, 6, "A")]
    assert lines(assign_speakers(transcript(said("this is what we all think.")), turns)) == [
        ("A", "this is"),
        ("B", "what"),
        ("A", "we all think."),
    ]


def test_a_short_answer_keeps_its_speaker() -> None:
    turns = [turn(0, 3.3, "A"), turn(3.3, 3.9, "B"), turn(3.9, 8, "A")]
    result = assign_speakers(transcript(said("Is it so? Yes. Then let us go.")), turns)
    assert lines(result) == [("A", "Is it so?"), ("B", "Yes."), ("A", "Then let us go.")]


def test_without_turns_there_are_no_speakers() -> None:
    result = assign_speakers(transcript(said("Anybody there?")), [])
    assert lines(result) == [(None, "Anybody there?")]
    assert result.speakers == []


def test_an_empty_transcript_keeps_its_turns() -> None:
    result = assign_speakers(Transcript(flags=["no_speech"]), [turn(0, 1, "A")])
    assert (result.segments, result.speakers, result.flags) == ([], ["A"], ["no_speech"])


# -- properties -------------------------------------------------------------------------------------------------------

ticks = st.integers(0, 60).map(lambda n: n / 4)
spans = st.tuples(ticks, st.integers(0, 12).map(lambda n: n / 4)).map(lambda s: (s[0], s[0] + s[1]))
turn_lists = st.lists(
    st.builds(lambda span, who: turn(span[0], span[1] + 0.25, who), spans, st.sampled_from("ABC")), max_size=12
)
word_lists = st.lists(
    st.builds(
        lambda text, span, timed: Word(word=text, start=span[0] if timed else None, end=span[1] if timed else None),
        st.sampled_from([" a", " b.", " c?", " d", "字"]),
        spans,
        st.booleans(),
    ),
    max_size=12,
)
segment_lists = st.lists(
    st.builds(
        lambda words, span: Segment(start=span[0], end=span[1], text="".join(w.word for w in words), words=words),
        word_lists,
        spans,
    ),
    max_size=6,
)


def by_hand(span: tuple[float, float], turns: Sequence[SpeakerTurn]) -> str | None:
    """The rule, word by turn: most seconds, ties to the earlier turn; otherwise the nearest within limits."""
    seconds: dict[str, float] = {}
    for each in turns:
        shared = min(span[1], each.end) - max(span[0], each.start)
        if shared > 0:
            seconds[each.speaker] = seconds.get(each.speaker, 0.0) + shared
    if seconds:
        return max(seconds, key=lambda who: seconds[who])
    distances = [max(each.start - span[1], span[0] - each.end, 0.0) for each in turns]
    close = [each.speaker for each, d in zip(turns, distances, strict=True) if d == min(distances) <= NEAREST]
    return close[0] if close else None


@given(st.lists(spans, max_size=20), turn_lists)
@example([(0.5, 0.5)], [SpeakerTurn(start=0.25, end=0.5, speaker="B"), SpeakerTurn(start=0.25, end=0.75, speaker="A")])
@example([(0.5, 0.5)], [SpeakerTurn(start=0.25, end=0.75, speaker=speaker) for speaker in "BA"])
def test_the_sweep_equals_a_comparison_with_every_turn(
    times: list[tuple[float, float]], turns: list[SpeakerTurn]
) -> None:
    turns.sort(key=lambda each: (each.start, each.end))
    swept = [max(heard, key=lambda who: heard[who]) if heard else None for heard in overlaps(times, turns)]
    for found, span in zip(swept, times, strict=True):
        expected = by_hand(span, turns)
        if found != expected:
            # Two people equally near: either is correct.
            assert found is not None
            assert expected is not None
            assert _distance(span, found, turns) == _distance(span, expected, turns) > 0


def _distance(span: tuple[float, float], who: str, turns: Sequence[SpeakerTurn]) -> float:
    return min(max(t.start - span[1], span[0] - t.end, 0.0) for t in turns if t.speaker == who)


@given(segment_lists, turn_lists)
def test_no_word_is_lost_changed_or_reordered(segments: list[Segment], turns: list[SpeakerTurn]) -> None:
    result = assign_speakers(transcript(*segments), turns)
    before = [word for segment in segments for word in segment.words]
    assert [word.model_copy(update={"speaker": None}) for word in result.word_segments] == before
    assert "".join(segment.text for segment in result.segments) == "".join(segment.text for segment in segments)


@given(segment_lists, turn_lists)
def test_every_segment_has_one_speaker_and_segments_are_in_order(
    segments: list[Segment], turns: list[SpeakerTurn]
) -> None:
    result = assign_speakers(transcript(*segments), turns)
    assert [segment.id for segment in result.segments] == list(range(len(result.segments)))
    for segment in result.segments:
        assert {word.speaker for word in segment.words} <= {segment.speaker}
        assert segment.start <= segment.end
    assert {segment.speaker for segment in result.segments} <= {*result.speakers, None}
    assert sorted(result.speakers) == sorted({each.speaker for each in turns})


@given(segment_lists, turn_lists)
def test_only_speakers_with_a_turn_are_named(segments: list[Segment], turns: list[SpeakerTurn]) -> None:
    result = assign_speakers(transcript(*segments), turns)
    assert set(of_words(result)) <= {each.speaker for each in turns} | {None}


@pytest.mark.timeout(20)
def test_an_hour_of_words_is_fast() -> None:
    """20,000 words and 5,000 turns take a second; their 100 million pairs would take a minute and more."""
    words = [Word(word=" w", start=i / 5, end=i / 5 + 0.2) for i in range(20_000)]
    segments = [
        Segment(start=i / 5, end=i / 5 + 4, text=" w" * 20, words=words[i : i + 20]) for i in range(0, 20_000, 20)
    ]
    turns = [turn(i * 0.8, i * 0.8 + 0.8, "AB"[i % 2]) for i in range(5_000)]
    result = assign_speakers(transcript(*segments), turns)
    assert of_words(result)[:8] == ["A"] * 4 + ["B"] * 4
    assert len(result.word_segments) == 20_000
