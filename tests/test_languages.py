"""Every mark that ends a sentence does so everywhere: in segments, between speakers, and in subtitles."""

import pytest

from stenopool.languages import CLAUSE_END, SENTENCE_END, ends_clause, ends_sentence
from stenopool.options import SubtitleOptions
from stenopool.speech import speakers
from stenopool.speech.engines.assembly import split_sentences
from stenopool.speech.renderers.subtitles import cues
from stenopool.speech.transcript import Segment, Transcript, Word


def _words(mark: str) -> list[Word]:
    texts = [" aaaa", f" bbbb{mark}", " Cccc", " dddd", " eeee"]
    return [Word(word=text, start=float(n), end=n + 0.9) for n, text in enumerate(texts)]


@pytest.mark.parametrize("mark", [*SENTENCE_END, "؟»", '।"', "。」"])
class TestSentenceEnd:
    def test_segments_are_cut(self, mark: str) -> None:
        assert [len(part) for part in split_sentences(_words(mark))] == [2, 3]

    def test_speakers_are_smoothed_within_it(self, mark: str) -> None:
        assert list(speakers._sentences(_words(mark))) == [(0, 2), (2, 5)]

    def test_subtitles_break_after_it(self, mark: str) -> None:
        words = _words(mark)
        text = "".join(word.word for word in words)
        transcript = Transcript(language="en", segments=[Segment(start=0, end=5, text=text, words=words)])
        style = SubtitleOptions(max_line_width=16, max_line_count=1)
        shown = [[token.text for line in cue.lines for token in line] for cue in cues(transcript, style, lambda _: "")]
        assert shown == [["aaaa", f"bbbb{mark}"], ["Cccc", "dddd", "eeee"]]


def test_a_mark_ends_a_sentence_or_a_clause() -> None:
    assert not set(SENTENCE_END) & set(CLAUSE_END)
    assert all(ends_sentence(f"x{mark}") and not ends_clause(f"x{mark}") for mark in SENTENCE_END)
    assert all(ends_clause(f"x{mark}") and not ends_sentence(f"x{mark}") for mark in CLAUSE_END)
    assert not any((ends_sentence("x"), ends_clause("x"), ends_sentence("")))
