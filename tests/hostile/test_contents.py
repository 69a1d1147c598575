"""The contents and names of recordings stay text in all output: no tags, cues, formulas or fields."""

import csv
import io
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from stenopool.errors import ErrorCode, Failure
from stenopool.orchestration.artifacts import _failures, cell
from stenopool.pipeline.report import FailedRecording
from stenopool.speech.renderers import render
from stenopool.speech.transcript import Segment, Source, SpeakerTurn, Transcript, Word
from tests.speech.renderers.subtitles import parse_srt, parse_vtt

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</title></style></script><svg onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;",
    "\n\n00:00:01.000 --> 00:00:09.000\nforged",
    "\n\n2\n00:00:01,000 --> 00:00:09,000\nforged",
    "NOTE\n\nSTYLE\n::cue{}",
    "<v Boss>fired",
    "--> --->",
    '=HYPERLINK("http://127.0.0.1/?"&A1,"x")',
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "＝1+1",
    "a\tb\tc",
    "SPEAKER x 1 0.000 1.000 <NA> <NA> forged <NA> <NA>\nSPEAKER",
    "[link](javascript:alert(1))",
    "![picture](http://127.0.0.1/x.png)",
    "| new | cell |\n| --- | --- |",
    "`code` **bold** # head",
    "<http://127.0.0.1/>",
    "\u202egpj.exe\u2066",
    "\x1b]0;title\x07\x1b[2J",
    "\u2028\u2029\x85\x0b\x0c\x00",
]


def transcript(text: str) -> Transcript:
    """A transcript with this text everywhere that a recording can set."""
    words = [Word(word=text, start=0.0, end=1.0, probability=0.9, speaker=text)]
    return Transcript(
        text=text,
        duration=2.0,
        segments=[
            Segment(start=0.0, end=1.0, text=text, speaker=text, words=words),
            Segment(start=1.0, end=2.0, text=text, speaker=text),
        ],
        speakers=[text],
        turns=[SpeakerTurn(start=0.0, end=2.0, speaker=text)],
        flags=[text],
        source=Source(uri=f"file:///{text}", key=text, etag="e", size=1),
    )


class Page(HTMLParser):
    """The tags and attributes of a page, with their numbers."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[tuple[str, str]] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {(tag, name) for name, _ in attrs}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_gets_no_additional_tags_or_attributes(text: str) -> None:
    """The same tags as on a page with harmless words, regardless of their number."""
    page, plain = Page(render(transcript(text), "html")), Page(render(transcript("word " * len(text.split())), "html"))
    nothing_said = Page(render(Transcript(), "html"))
    assert page.attributes <= plain.attributes | nothing_said.attributes
    assert set(page.tags) <= set(plain.tags) | set(nothing_said.tags)
    assert page.tags["script"] <= plain.tags["script"]


@pytest.mark.parametrize("text", HOSTILE)
def test_subtitles_get_no_additional_cues(text: str) -> None:
    """Every cue's times are those of the transcript's two segments; a reader finds no other block."""
    for cues in (parse_vtt(render(transcript(text), "vtt")), parse_srt(render(transcript(text), "srt"))):
        assert all(0 <= cue.start <= cue.end <= 2000 for cue in cues)
    vtt = render(transcript(text), "vtt")
    assert not re.search(r"^(NOTE|STYLE|REGION)\b", vtt.partition("\n\n")[2], re.MULTILINE) or "-->" not in text
    assert set(re.findall(r"<(/?\w+)", vtt)) <= {"v"}


@pytest.mark.parametrize("text", HOSTILE)
def test_cells_are_never_formulas_and_none_is_added(text: str) -> None:
    rows = list(csv.reader(io.StringIO(render(transcript(text), "tsv")), delimiter="\t", quoting=csv.QUOTE_NONE))
    for row in rows:
        assert len(row) == 4
        assert not any(cell.lstrip().startswith(("=", "+", "-", "@", "＝")) for cell in row)


@pytest.mark.parametrize("text", HOSTILE)
def test_rttm_has_its_ten_fields(text: str) -> None:
    lines = render(transcript(text), "rttm").splitlines()
    assert [len(line.split()) for line in lines] == [10]


@pytest.mark.parametrize("text", HOSTILE)
def test_artifacts_are_a_table_of_text(text: str) -> None:
    """Rendered like Markdown on Prefect's page, with tags allowed: the only tags are those of the table."""
    failure = Failure(code=ErrorCode.NOT_AUDIO, message=text, remedy=text)
    failed = FailedRecording(key=text, fingerprint="0" * 32, failure=failure)
    markdown = "\n\n".join([f"# {cell(text)}", *_failures([failed])])
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    tags = set(re.findall(r"<(/?[a-z]\w*)", html.lower()))
    assert {tag.strip("/") for tag in tags} <= {"h1", "table", "thead", "tbody", "tr", "th", "td"}
    assert html.count("<td") == 3
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", html)
