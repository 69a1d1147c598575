"""A transcript in the terminal: times, languages, and a colour per speaker."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stenopool.speech.clock_text import format_clock
from stenopool.speech.renderers.breaking import find_lines, width
from stenopool.speech.renderers.view import Paragraph, doubt, facts, paragraphs, title
from stenopool.speech.renderers.words import join
from stenopool.speech.transcript import Transcript

_SPEAKER, _PADDING = 24, 2  # columns
_COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "red", "bright_black")


def print_transcript(transcript: Transcript, console: Console) -> None:
    """Print the transcript. Rich markup and terminal codes in its text have no effect."""
    console.print(Text(title(transcript), style="bold"))
    console.print(Text(" · ".join(value for _, value in facts(transcript)), style="dim"))
    console.print()
    body = list(paragraphs(transcript))
    if not body:
        console.print(Text("No speech was found in this recording.", style="dim"))
        return
    speakers = list(dict.fromkeys(paragraph.speaker for paragraph in body if paragraph.speaker))
    colours = {speaker: _COLOURS[number % len(_COLOURS)] for number, speaker in enumerate(speakers)}
    table = Table.grid(padding=(0, _PADDING))
    table.add_column(justify="right", style="dim", no_wrap=True)
    if speakers:
        table.add_column(max_width=_SPEAKER, overflow="fold")
    table.add_column(ratio=1, overflow="fold")
    beside = [
        max(map(width, columns))
        for columns in ([format_clock(paragraph.start) for paragraph in body], speakers or [""])
    ]
    columns = console.width - sum(min(wide, _SPEAKER) + _PADDING for wide in beside if wide)
    for paragraph in body:
        speaker = Text(paragraph.speaker or "", style=colours.get(paragraph.speaker or "", ""))
        text = _wrap(_text(paragraph, transcript.language), max(20, columns))
        table.add_row(format_clock(paragraph.start), *([speaker] if speakers else []), text)
    console.print(table)


def _wrap(text: Text, columns: int) -> Text:
    """Break the text into lines. Rich breaks only at spaces, which Chinese and other scripts do not have."""
    lines = text.divide(find_lines(text.plain, columns))
    for line in lines:
        line.rstrip()
    return Text("\n").join(lines)


def _text(paragraph: Paragraph, language: str | None) -> Text:
    text = Text()
    for stretch in paragraph.stretches:
        why = doubt(stretch.segment)
        code = stretch.segment.language or language
        text.append(" " * stretch.tokens[0].space if text else "")
        if code != language:
            text.append(f"[{code}] ", style="dim")
        language = code
        text.append(join(stretch.tokens), style="dim" if why else "")
        text.append(f" ({why})" if why else "", style="dim italic")
    return text
