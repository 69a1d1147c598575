"""Properties of every transcript, however odd."""

import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise

import pytest
import wcwidth
from hypothesis import given, settings
from hypothesis import strategies as st

from stenopool.options import FORMATS, SubtitleOptions
from stenopool.runtime.characters import INVISIBLE
from stenopool.speech.renderers import CONTENT_TYPES, render
from stenopool.speech.renderers.words import clean, stretches
from stenopool.speech.transcript import Segment, Transcript
from tests.speech.renderers.samples import transcripts
from tests.speech.renderers.subtitles import Shown, parse_srt, parse_vtt

LABEL = re.compile(r"^[\u202a\u202b]?\[.*?\]: ")
styles = st.builds(
    SubtitleOptions,
    max_line_width=st.none() | st.integers(1, 60),
    max_line_count=st.integers(1, 3),
    max_words_per_line=st.none() | st.integers(1, 5),
    highlight_words=st.booleans(),
)
plain_styles = styles.map(lambda style: style.model_copy(update={"highlight_words": False}))


def letters(texts: list[str]) -> Counter[str]:
    """All text, except blanks, arrows (not possible in SRT) and invisible characters."""
    return Counter(re.sub(r"[\s\x00-\x1f\x7f-\x9f>-]", "", INVISIBLE.sub("", "".join(texts))))


def said(transcript: Transcript) -> list[str]:
    """The engine's text, read directly from the model."""
    return [
        text
        for segment in transcript.segments
        for text in ([word.word for word in segment.words if clean(word.word)] or [segment.text])
    ]


@given(transcripts(), styles)
@settings(max_examples=60, deadline=None)
def test_every_format_accepts_every_transcript(transcript: Transcript, style: SubtitleOptions) -> None:
    for format in FORMATS:
        render(transcript, format, style).encode("utf-8")


@given(transcripts(), plain_styles)
@settings(max_examples=150, deadline=None)
def test_subtitles_keep_every_word(transcript: Transcript, style: SubtitleOptions) -> None:
    vtt = parse_vtt(render(transcript, "vtt", style))
    assert letters([line for cue in vtt for line in cue.lines]) == letters(said(transcript))
    srt = parse_srt(render(transcript, "srt", style))
    unlabelled = [LABEL.sub("", cue.lines[0]) for cue in srt] + [line for cue in srt for line in cue.lines[1:]]
    speakers_look_like_labels = any(LABEL.match(text) for text in said(transcript))
    assert speakers_look_like_labels or letters(unlabelled) == letters(said(transcript))


@given(transcripts(), plain_styles)
@settings(max_examples=150, deadline=None)
def test_lines_are_as_short_and_few_as_configured(transcript: Transcript, style: SubtitleOptions) -> None:
    def check(cues: list[Shown]) -> None:
        for cue in cues:
            assert len(cue.lines) <= style.max_line_count
            for line in cue.lines:
                written = re.sub("[\u202a-\u202c]", "", LABEL.sub("", line)).strip()
                # A single word may be longer, with punctuation that must not start or end a line.
                pairs = pairwise(written.split())
                words = 1 + sum(before[-1].isalnum() and after[0].isalnum() for before, after in pairs)
                assert wcwidth.width(line) <= (style.max_line_width or 42) or words == 1
                assert style.max_words_per_line is None or words <= style.max_words_per_line, line

    check(parse_vtt(render(transcript, "vtt", style)))
    check(parse_srt(render(transcript, "srt", style)))


@given(transcripts(), styles)
@settings(max_examples=150, deadline=None)
def test_cues_do_not_overlap(transcript: Transcript, style: SubtitleOptions) -> None:
    for cues in (parse_srt(render(transcript, "srt", style)), parse_vtt(render(transcript, "vtt", style))):
        clock = 0
        for start, end, _ in cues:
            assert clock <= start < end
            clock = end


@given(transcripts(), styles, st.sampled_from([None, 0, 1]))
@settings(max_examples=60, deadline=None)
def test_cues_overlap_only_across_channels_and_on_request(
    transcript: Transcript, style: SubtitleOptions, channel: int | None
) -> None:
    alone = [segment for segment in transcript.segments if segment.channel == channel]
    overlapping = style.model_copy(update={"overlapping_cues": True})
    transcript_of_one = transcript.model_copy(update={"segments": alone})
    assert render(transcript_of_one, "vtt", overlapping) == render(transcript_of_one, "vtt", style)
    starts = [cue.start for cue in parse_vtt(render(transcript, "vtt", overlapping))]
    assert style.highlight_words or starts == sorted(starts)


@given(transcripts())
@settings(max_examples=100, deadline=None)
def test_words_never_go_backwards_within_a_segment(transcript: Transcript) -> None:
    for segment in transcript.segments:
        tokens = [p for s in stretches(Transcript(segments=[segment])) for p in s.tokens]
        times = [time for token in tokens for time in (token.start, token.end)]
        assert times == sorted(times)


@given(transcripts())
@settings(max_examples=100, deadline=None)
def test_every_row_of_a_table_has_all_columns(transcript: Transcript) -> None:
    header, *rows = render(transcript, "tsv").removesuffix("\n").split("\n")
    assert header == "start\tend\ttext\tspeaker"
    for row in rows:
        start, end, text, _ = row.split("\t")
        assert int(start) <= int(end)
        assert text
    # Text that a spreadsheet would take for a formula starts with an apostrophe.
    texts = [re.sub("^'(?=[=+@＝＋－＠-])", "", row.split("\t")[2]) for row in rows]
    assert letters(texts) == letters(said(transcript))
    for line in render(transcript, "rttm").splitlines():
        fields = line.split(" ")
        assert len(fields) == 10
        assert float(fields[4]) > 0


@given(transcripts())
@settings(max_examples=100, deadline=None)
def test_json_is_lossless(transcript: Transcript) -> None:
    assert Transcript.model_validate_json(render(transcript, "json")) == transcript


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words: list[str] = []
        self._word = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._word = tag == "span" and "data-e" in dict(attrs)

    def handle_endtag(self, tag: str) -> None:
        self._word = False

    def handle_data(self, data: str) -> None:
        if self._word:
            self.words.append(data)


@given(transcripts())
@settings(max_examples=100, deadline=None)
def test_spoken_text_never_becomes_markup(transcript: Transcript) -> None:
    page = _Page()
    page.feed(render(transcript, "html"))
    assert not page.tags & {"b", "i", "u", "img"}
    assert not any(name.startswith("on") for name in page.attributes)
    assert letters(page.words) == letters(said(transcript))


@pytest.mark.parametrize("format", FORMATS)
def test_silence_gives_a_valid_file(format: str) -> None:
    empty = {"srt": "", "vtt": "WEBVTT\n\n", "txt": "", "tsv": "start\tend\ttext\tspeaker\n", "rttm": ""}
    for transcript in (Transcript(), Transcript(segments=[Segment(start=0, end=1, text=" ")])):
        text = render(transcript, format)
        assert text == empty.get(format, text)
    if format == "html":
        assert "No speech" in text


def test_every_format_has_a_content_type() -> None:
    assert set(CONTENT_TYPES) == set(FORMATS)
