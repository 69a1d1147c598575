"""From decoded windows to transcripts."""

from stenopool.options import TranscriptionOptions
from stenopool.speech.audio.vad import Region
from stenopool.speech.engines.assembly import build_segments, build_transcript, cut_pauses
from stenopool.speech.engines.decoding import WindowResult
from stenopool.speech.transcript import HALLUCINATION_SUSPECTED, NO_SPEECH, Segment, Word

WINDOW = Region(100.0, 110.0)


def _decoded(words: list[Word], text: str = "") -> WindowResult:
    return WindowResult(
        language="en",
        text=text or "".join(word.word for word in words),
        tokens=[],
        avg_logprob=-0.2,
        no_speech_prob=0.1,
    )


def test_a_window_becomes_sentences_in_the_recordings_time() -> None:
    words = [
        Word(word=" Yes.", start=1.0, end=1.5, probability=0.9),
        Word(word=" Twelve", start=2.0, end=2.5, probability=0.8),
        Word(word=" 12"),
        Word(word=" more.", start=3.0, end=3.5, probability=0.7),
    ]
    decoded = _decoded(words)
    decoded.words = words
    segments = list(build_segments(WINDOW, decoded))
    assert [(s.start, s.end, s.text) for s in segments] == [(101.0, 101.5, " Yes."), (102.0, 103.5, " Twelve 12 more.")]
    assert [(word.start, word.end) for word in segments[1].words] == [(102.0, 102.5), (None, None), (103.0, 103.5)]
    assert {segment.language for segment in segments} == {"en"}
    assert words[0].start == 1.0, "the decoded segment is unchanged"


def test_without_words_the_window_is_one_segment() -> None:
    (segment,) = build_segments(WINDOW, _decoded([], " Yes. No."))
    assert (segment.start, segment.end, segment.text) == (100.0, 110.0, " Yes. No.")
    assert list(build_segments(WINDOW, _decoded([], " "))) == []


def test_segments_are_numbered_and_flagged_or_dropped() -> None:
    sound = Segment(start=0, end=1, text=" Hello.", avg_logprob=-0.2)
    made_up = Segment(start=5, end=6, text=" Thanks for watching.", avg_logprob=-0.2)
    last = Segment(start=9, end=10, text=" Bye.", avg_logprob=-0.2)
    speech = [Region(0, 2), Region(8.5, 10)]

    def assemble(choice: str) -> tuple[str, list[int], list[list[str]]]:
        options = TranscriptionOptions(hallucinations=choice)
        transcript = build_transcript([sound, made_up, last], speech, options, language=("en", 0.9), duration=10.0)
        return transcript.text, [s.id for s in transcript.segments], [s.flags for s in transcript.segments]

    assert assemble("flag") == (
        "Hello. Thanks for watching. Bye.",
        [0, 1, 2],
        [[], [HALLUCINATION_SUSPECTED], []],
    )
    assert assemble("drop") == ("Hello. Bye.", [0, 1], [[], []])


def test_an_empty_result_means_no_speech() -> None:
    options = TranscriptionOptions(hallucinations="drop")
    made_up = Segment(start=5, end=6, text=" Thanks for watching.")
    transcript = build_transcript([made_up], [], options, language=("en", 0.9), duration=10.0)
    assert (transcript.text, transcript.segments, transcript.flags) == ("", [], [NO_SPEECH])


def test_a_pause_that_a_word_lasted_over_ends_its_segment() -> None:
    words = [Word(word=" chapter", start=2.0, end=3.5), Word(word=" Good", start=3.5, end=9.6)]
    decoded = _decoded(words)
    decoded.words = words
    speech = [Region(0.0, 4.0), Region(9.0, 12.0)]
    segments = list(build_segments(Region(0.0, 12.0), decoded, speech))
    assert [(each.text, each.start, each.end) for each in segments] == [(" chapter", 2.0, 3.5), (" Good", 9.4, 9.6)]

    (cut,) = [cut_pauses(Segment(start=3.5, end=9.6, text=" Good", words=words[1:]), speech)]
    assert (cut.start, cut.end) == (9.4, 9.6)
