"""SRT and VTT: positions of cuts, and the exact format."""

from itertools import pairwise

import pytest

from stenopool.options import FORMATS, SubtitleOptions
from stenopool.speech.renderers import render
from stenopool.speech.transcript import Segment, Transcript, Word
from tests.speech.renderers.samples import conversation, spoken
from tests.speech.renderers.subtitles import parse_srt, parse_vtt


def one(*segments: Segment, language: str = "en") -> Transcript:
    return Transcript(language=language, segments=list(segments))


def shown(transcript: Transcript, **style: object) -> list[tuple[int, int, list[str]]]:
    return [tuple(cue) for cue in parse_srt(render(transcript, "srt", SubtitleOptions(**style)))]  # type: ignore[misc]


def test_srt_exact_output() -> None:
    assert render(conversation(), "srt") == (
        "1\n00:00:00,500 --> 00:00:01,500\n[SPEAKER_00]: Hello there.\n\n"
        "2\n00:00:02,000 --> 00:00:04,000\n[SPEAKER_01]: Hi! How are you?\n\n"
    )


def test_vtt_exact_output() -> None:
    transcript = conversation()
    transcript.segments[1].words[0].word = " <Hi>"
    assert render(transcript, "vtt") == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\n<v SPEAKER_00>Hello there.\n\n"
        "00:00:02.000 --> 00:00:04.000\n<v SPEAKER_01>&lt;Hi&gt; How are you?\n\n"
    )


def test_a_long_segment_is_cut_at_its_sentence_with_the_words_times() -> None:
    first = "One two three four."
    second = "Five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen."
    (start, middle, lines), (resume, end, rest) = shown(one(spoken(f"{first} {second}", start=3)))
    assert (start, middle, resume, end) == (3000, 4917, 5000, 11000)
    assert " ".join(lines) == first
    assert " ".join(rest) == second


def test_sentences_do_not_exceed_the_maximum_number_of_lines() -> None:
    ((_, _, lines),) = shown(one(spoken("Aaaa bbbb cccc dddd eeeee. " * 3, pace=0.4)))  # 80 characters
    assert len(lines) == 2


def test_a_pause_is_preferred_for_a_cut() -> None:
    before = spoken("aaaa " * 9)
    after = spoken("bbbb " * 11, start=before.end + 0.5)
    joint = Segment(start=0, end=after.end, text=before.text + after.text, words=before.words + after.words)
    (_, _, lines), (resume, _, _) = shown(one(joint))
    assert "bbbb" not in " ".join(lines)
    assert resume == after.start * 1000


def test_no_cue_covers_a_long_silence() -> None:
    words = [Word(word=" One", start=0, end=1), Word(word=" two", start=60, end=61)]
    cues = shown(one(Segment(start=0, end=61, text=" One two", words=words)))
    assert cues == [(0, 1000, ["One"]), (60_000, 61_000, ["two"])]


def test_lines_are_balanced() -> None:
    ((_, _, lines),) = shown(one(spoken("word " * 10)))  # 49 characters: greedy wrapping would leave 39 and 9
    assert [len(line) for line in lines] == [24, 24]


def test_a_change_of_speaker_within_a_segment_is_a_new_cue() -> None:
    segment = spoken("Are you there? Yes.", speaker="SPEAKER_00")
    segment.words[-1].speaker = "SPEAKER_01"
    assert [lines for _, _, lines in shown(one(segment))] == [["[SPEAKER_00]: Are you there?"], ["[SPEAKER_01]: Yes."]]


def test_text_without_words_is_spread_over_its_time() -> None:
    cues = shown(one(Segment(start=10, end=30, text="word " * 40)))  # 199 characters in 20 seconds: three cues
    assert len(cues) == 3
    assert cues[0][0] == 10_000
    assert cues[-1][1] == 30_000
    for (start, _, lines), following in pairwise([*cues, (30_000, 0, [])]):
        words = sum(line.count("word") for line in lines)
        assert abs(following[0] - start - words * 500) <= 1


def test_words_without_times_are_shown_with_their_neighbours() -> None:
    words = [
        Word(word=" From", start=1, end=2),
        Word(word=" 1914"),
        Word(word=" to"),
        Word(word=" 1918", start=None, end=7),
        Word(word=" on", start=8, end=9),
    ]
    segment = Segment(start=1, end=9, text=" From 1914 to 1918 on", words=words)
    cues = shown(one(segment), max_words_per_line=1, max_line_count=1)
    assert [line for _, _, (line,) in cues] == ["From", "1914", "to", "1918", "on"]
    assert [start for start, _, _ in cues] == [1000, 2000, 4400, 5600, 8000]


def test_words_with_and_without_their_blank_give_the_same_text() -> None:
    whisper, whisperx = spoken("Hello there."), spoken("Hello there.", blank="")
    assert render(one(whisper), "vtt") == render(one(whisperx), "vtt")


@pytest.mark.parametrize("first", [" twenty", "twenty"])
def test_a_word_that_follows_without_a_blank_stays_joined(first: str) -> None:
    words = [Word(word=first, start=0, end=1), Word(word="-one", start=1, end=2)]
    assert "twenty-one" in render(one(Segment(start=0, end=2, text="twenty-one", words=words)), "srt")


def test_languages_without_blanks_are_joined_without_blanks() -> None:
    words = [Word(word=word, start=n, end=n + 1) for n, word in enumerate(["今日", "は", "いい", "天気"])]
    segment = Segment(start=0, end=4, text="今日はいい天気。", words=words)
    for format in FORMATS:
        assert format in ("json", "rttm", "html") or "今日はいい天気" in render(one(segment, language="ja"), format)


def test_languages_without_blanks_are_cut_between_characters_but_not_before_a_comma() -> None:
    text = "あい、" * 10  # with the minimum of 2 lines, every third line would start with the comma
    for *_, lines in shown(one(Segment(start=0, end=60, text=text), language="ja"), max_line_width=2):
        assert all(len(line) <= 2 for line in lines)
        assert not any(line.startswith("、") for line in lines)


def test_thai_vowels_stay_with_their_consonant() -> None:
    for *_, lines in shown(one(Segment(start=0, end=60, text="เกาะแก้วน้ำ" * 8), language="th"), max_line_width=5):
        assert not any(line[0] in "าะำ้" or line[-1] in "เแโใไ" for line in lines)


def test_overlapping_cues_are_separated_unless_two_channels_may_overlap() -> None:
    long, short = spoken("a b c d", pace=1.5), spoken("e", start=5, pace=2)
    assert [cue[:2] for cue in shown(one(long, short))] == [(0, 4917), (5000, 7000)]
    long.channel, short.channel = 0, 1
    assert [cue[:2] for cue in shown(one(long, short))] == [(0, 4917), (5000, 7000)]
    assert [cue[:2] for cue in shown(one(long, short), overlapping_cues=True)] == [(0, 6000), (5000, 7000)]


def test_the_spoken_word_is_underlined() -> None:
    words = [Word(word=" <one>", start=0, end=1), Word(word=" 2"), Word(word=" three", start=2, end=3)]
    transcript = one(Segment(start=0, end=3, text=" <one> 2 three", words=words))
    style = SubtitleOptions(highlight_words=True)
    assert [tuple(cue) for cue in parse_srt(render(transcript, "srt", style))] == [
        (0, 1000, ["<u><one></u> 2 three"]),
        (1000, 2000, ["<one> 2 three"]),  # the time of the number is unknown
        (2000, 3000, ["<one> 2 <u>three</u>"]),
    ]
    assert "<u>&lt;one&gt;</u> 2 three" in render(transcript, "vtt", style)
    assert len(parse_vtt(render(transcript, "vtt", style))) == 3


def test_an_arrow_in_the_text_does_not_end_a_cue() -> None:
    transcript = one(spoken("go --> there ---> now"))
    assert shown(transcript)[0][2] == ["go -> there -> now"]
    assert parse_vtt(render(transcript, "vtt"))[0].lines == ["go --> there ---> now"]


def test_hours_go_past_two_digits() -> None:
    assert "100:00:00,500 -->" in render(one(spoken("late", start=360_000.5)), "srt")
