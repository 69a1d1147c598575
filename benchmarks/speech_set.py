"""The set of real recordings: reference texts, and audio as input of the engines."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.compare.recordings import Item, read_items
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.engines.base import Utterance

SPEECH = Path(os.environ.get("STENOPOOL_SPEECH") or Path(__file__).parents[2] / "shared" / "speech")


class SpeechSet:
    """A folder of recordings with its ``manifest.json``; prepared audio goes to ``scratch``."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder
        self.scratch = scratch
        self._items = read_items(folder)

    def of(self, kind: str) -> list[Item]:
        """The recordings of one kind."""
        return [item for item in self._items if item.kind == kind]

    def utterances(self, items: Iterable[Item], options: TranscriptionOptions) -> Iterator[Utterance]:
        """One per recording, or with ``channels=split`` one per channel in order. Its id is the recording's file."""
        for item in items:
            flac = self.scratch / options.channels / f"{item.file}.flac"
            if not flac.exists():
                flac.parent.mkdir(parents=True, exist_ok=True)
                prepare_audio(self.folder / item.file, flac, options, ExecutionOptions())
            channels = len(item.channel_text) if options.channels == "split" else 1
            for channel in range(channels):
                yield Utterance(item.file, Waveform(flac, channel))
