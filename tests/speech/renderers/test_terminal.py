"""The transcript in the terminal."""

import io

import pytest
import wcwidth
from rich.console import Console

from stenopool.speech.renderers.terminal import print_transcript
from stenopool.speech.transcript import Segment, Source, Transcript
from tests.speech.renderers.samples import conversation, spoken
from tests.speech.renderers.test_scripts import CLOSING, TEXTS


def printed(transcript: Transcript, *, colour: bool = False, columns: int = 80) -> str:
    out = io.StringIO()
    print_transcript(
        transcript, Console(file=out, width=columns, force_terminal=colour, color_system="standard" if colour else None)
    )
    return out.getvalue()


def test_times_speakers_and_words_are_shown() -> None:
    lines = [line.split() for line in printed(conversation()).splitlines()]
    assert ["0:00", "SPEAKER_00", "Hello", "there."] in lines
    assert any(line[:4] == ["0:02", "SPEAKER_01", "Hi!", "How"] for line in lines)


def test_each_speaker_has_a_colour() -> None:
    out = printed(conversation(), colour=True)
    assert "\x1b[36mSPEAKER_00" in out
    assert "\x1b[33mSPEAKER_01" in out


def test_languages_and_low_confidence_are_shown() -> None:
    transcript = conversation()
    transcript.segments.append(spoken("Na gut.", 5, language="de", speaker="SPEAKER_00"))
    out = printed(transcript)
    assert "[de] Na gut." in out
    assert "may be a hallucination" in out


def test_neither_markup_nor_terminal_codes_take_effect() -> None:
    text = "[red]stop[/red] \x1b[2Jwipe [/]"
    source = Source(uri="s3://a/b", key="a/[red]b.wav", etag="e", size=1)
    segment = Segment(start=0, end=1, text=text, speaker="[bold]\x1b[0m")
    out = printed(Transcript(source=source, segments=[segment]))
    assert "[red]stop[/red]" in out
    assert "[bold]" in out
    assert out.splitlines()[0] == "[red]b.wav"
    assert "\x1b" not in out


@pytest.mark.parametrize("script", TEXTS)
def test_text_of_every_script_is_shown_completely(script: str) -> None:
    """Text without blanks was cut off at the end of its first line."""
    for speaker in (None, "SPEAKER_00 " * 4):
        segment = Segment(start=0, end=9, text=TEXTS[script], speaker=speaker)
        _, _, _, *lines = printed(Transcript(segments=[segment]), columns=60).splitlines()
        assert (
            max(wcwidth.width(line.rstrip()) for line in lines) <= 60
        )  # rich pads them, and counts some marks as narrower
        text = [line[6 + (26 if speaker else 0) :].strip() for line in lines]
        if speaker is None:
            assert "".join("".join(text).split()) == "".join(TEXTS[script].split())
            assert not any(line[0] in CLOSING and script != "loop" for line in text if line)
        else:
            assert "".join(TEXTS[script].split())[-3:] in "".join("".join(lines).split())


def test_silence_is_mentioned() -> None:
    assert "No speech" in printed(Transcript())
