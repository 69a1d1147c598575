"""Languages written without spaces stay so wherever words, segments, channels and paragraphs are joined."""

import io
import re

import pytest
from rich.console import Console

from stenopool.api.openai_formats import format_transcript
from stenopool.languages import NO_SPACE_LANGUAGES
from stenopool.options import SubtitleOptions, TranscriptionOptions
from stenopool.speech.audio.vad import Region
from stenopool.speech.engines.assembly import build_transcript
from stenopool.speech.renderers import render
from stenopool.speech.renderers.terminal import print_transcript
from stenopool.speech.renderers.view import view
from stenopool.speech.speakers import assign_speakers, merge_channels
from stenopool.speech.transcript import Segment, SpeakerTurn, Transcript, Word

WORDS = {
    "zh": ("你好", "世界", "再见"),
    "yue": ("你好", "世界", "再見"),
    "ja": ("こん", "にちは", "世界"),
    "th": ("สวัสดี", "ชาว", "โลก"),
    "lo": ("ສະບາຍ", "ດີ", "ໂລກ"),
    "km": ("ភាសា", "ខ្មែរ", "ល្អ"),
    "my": ("မင်္ဂ", "လာ", "ပါ"),
}


def _segment(texts: tuple[str, ...], start: float, language: str, *, timed: bool = True) -> Segment:
    blank = "" if language in NO_SPACE_LANGUAGES else " "
    words = [Word(word=blank + text, start=start + n, end=start + n + 1) for n, text in enumerate(texts)]
    text = "".join(word.word for word in words)
    return Segment(start=start, end=start + len(texts), text=text, language=language, words=words if timed else [])


def _transcript(language: str, *, timed: bool = True) -> Transcript:
    first, second, third = WORDS[language]
    segments = [_segment((first, second), 0, language, timed=timed), _segment((third,), 2, language, timed=timed)]
    options = TranscriptionOptions()
    return build_transcript(segments, [Region(0, 3)], options, language=(language, 1.0), duration=3.0)


def _terminal(transcript: Transcript) -> str:
    out = io.StringIO()
    print_transcript(transcript, Console(file=out, width=100))
    return out.getvalue()


def test_the_table_has_every_language() -> None:
    assert WORDS.keys() == NO_SPACE_LANGUAGES


@pytest.mark.parametrize("timed", [True, False], ids=["words", "text alone"])
@pytest.mark.parametrize("language", WORDS)
class TestOneLanguage:
    def test_files_and_terminal_have_no_spaces(self, language: str, timed: bool) -> None:
        transcript, whole = _transcript(language, timed=timed), "".join(WORDS[language])
        assert transcript.text == whole
        assert whole in render(transcript, "txt")
        assert whole in _terminal(transcript)
        assert whole in re.sub(r"<[^>]+>", "", render(transcript, "html"))
        cues = (
            render(transcript, "vtt", SubtitleOptions(max_line_width=200))
            + render(transcript, "srt")
            + render(transcript, "tsv")
        )
        first, second, third = WORDS[language]
        assert cues.count(first + second) == 3
        assert f" {second}" not in cues
        assert f" {third}" not in cues

    def test_the_page_and_the_text_format_have_no_spaces(self, language: str, timed: bool) -> None:
        (paragraph,) = view(_transcript(language, timed=timed)).paragraphs
        assert not any(token.space for stretch in paragraph.stretches for token in stretch.tokens)
        assert format_transcript(_transcript(language, timed=timed), "text", []) == "".join(WORDS[language]) + "\n"

    def test_assigning_speakers_adds_no_spaces(self, language: str, timed: bool) -> None:
        turns = [SpeakerTurn(start=n, end=n + 1, speaker=f"SPEAKER_{n:02d}") for n in range(3)]
        assigned = assign_speakers(_transcript(language, timed=timed), turns)
        assert "".join(segment.text for segment in assigned.segments) == "".join(WORDS[language])

    def test_merging_channels_adds_no_spaces(self, language: str, timed: bool) -> None:
        first, second, third = WORDS[language]
        one = Transcript(language=language, segments=[_segment((first,), 0, language), _segment((third,), 2, language)])
        two = Transcript(language=language, segments=[_segment((second,), 1, language)])
        merged = merge_channels([one, two], ["a", "b"], as_speakers=True)
        assert merged.text == first + second + third


@pytest.mark.parametrize("language", WORDS)
def test_a_blank_is_used_if_one_side_is_written_with_blanks(language: str) -> None:
    first, second, third = WORDS[language]
    parts = [("Hello.",), (first, second), (third,), ("Bye.",)]
    codes = ["en", language, language, "en"]
    segments = [_segment(texts, 2.0 * n, code) for n, (texts, code) in enumerate(zip(parts, codes, strict=True))]
    mixed = Transcript(language="en", segments=segments)
    expected = f"Hello. {first}{second}{third} Bye."
    assert render(mixed, "txt") == expected + "\n"
    channels = [Transcript(language=code, segments=[s]) for s, code in zip(segments, codes, strict=True)]
    assert merge_channels(channels, ["a", "b", "c", "d"], as_speakers=False).text == expected
