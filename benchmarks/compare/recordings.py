"""The recordings: a folder, with or without a manifest of reference texts."""

import os
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from shutil import copyfile

import soundfile
from pydantic import BaseModel, TypeAdapter, ValidationError

from stenopool.errors import LocationInvalid, RecordingError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Selection
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.waveform import SAMPLE_RATE, Waveform

MANIFEST = "manifest.json"
ALL = "all"
WARM = "warm"
_WARM_SECONDS = 10.0


class Item(BaseModel):
    """One recording of a manifest. ``text``: the reference text, if known."""

    file: str
    kind: str = ALL
    language: str | None = None
    text: str | None = None
    channel_text: list[str] = []


def read_items(folder: Path) -> list[Item]:
    """The recordings of the folder's manifest; without a manifest, those that `stenopool run` would transcribe.

    Raises `LocationInvalid`.
    """
    if not folder.is_dir():
        raise LocationInvalid(f"{folder} is not a folder.")
    manifest = folder / MANIFEST
    try:
        if manifest.exists():
            return TypeAdapter(list[Item]).validate_json(manifest.read_bytes())
    except ValidationError as error:
        raise LocationInvalid(
            f"{manifest} is not a list of recordings: {error.errors()[0]['msg']}.",
            remedy='Write a list of objects: {"file": ..., "kind": ..., "text": ..., "language": ...}.',
        ) from error
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [Item(file=file) for file in files if Selection().takes(file, 0.0)]


class Corpus:
    """Recordings laid out for the systems, kind by kind, in a working folder that each of them can read.

    ``sources/KIND/`` has the original files, ``prepared/KIND/`` their audio as input of Stenopool's engines. Files that
    cannot be decoded are only in ``left_out``, so that every system gets the same files.
    """

    def __init__(self, folder: Path, work: Path, kinds: Sequence[str] = (), count: int | None = None) -> None:
        self.folder = folder
        self.work = work
        self.items: dict[str, dict[str, Item]] = {}
        self.seconds: dict[str, float] = {}
        self.left_out: list[str] = []
        found = read_items(folder)
        for kind in kinds or dict.fromkeys(item.kind for item in found):
            self._lay_out(kind, [item for item in found if item.kind == kind], count)
        self._lay_out_warm()

    def sources(self, kind: str) -> Path:
        """The folder with the original recordings of a kind."""
        return self.work / "sources" / kind

    def add(self, name: str, kind: str, count: int) -> None:
        """Create a new kind with this many recordings of a kind, repeated as needed."""
        self._lay_out(name, [item for item in read_items(self.folder) if item.kind == kind], count)

    def _lay_out(self, kind: str, items: Sequence[Item], count: int | None) -> None:
        sound = list(self._sound(items))
        if not sound:
            raise LocationInvalid(
                f"{self.folder} has no recording of kind {kind} that can be decoded.",
                remedy=f"Check the folder, and --kinds against its {MANIFEST}.",
            )
        self.items[kind], self.seconds[kind] = {}, 0.0
        for number, (item, flac) in enumerate(islice(cycle(sound), count or len(sound))):
            # Decoders use the extension. The rest of the name is replaced, because odd names are not tested here.
            name = f"{number:05d}{Path(item.file).suffix}"
            _place(self.folder / item.file, self.sources(kind) / name)
            _place(flac, prepared_path(self.work, kind, name))
            self.items[kind][name] = item
            self.seconds[kind] += Waveform(flac).duration

    def _sound(self, items: Sequence[Item]) -> Iterator[tuple[Item, Path]]:
        """The decodable recordings, with their prepared audio."""
        for item in items:
            flac = self.work / "decoded" / f"{item.file}.flac"
            if not flac.exists():
                flac.parent.mkdir(parents=True, exist_ok=True)
                try:
                    prepare_audio(
                        self.folder / item.file, flac, TranscriptionOptions(diarization="off"), ExecutionOptions()
                    )
                except (RecordingError, OSError) as error:
                    self.left_out.append(f"{item.file}: {error}")
                    continue
            yield item, flac

    def _lay_out_warm(self) -> None:
        """Ten seconds of the first recording, for the untimed warm-up of every system."""
        kind, named = next(iter(self.items.items()))
        waveform = Waveform(prepared_path(self.work, kind, next(iter(named))))
        source = self.sources(WARM) / "0.flac"
        source.parent.mkdir(parents=True)
        soundfile.write(source, waveform.read(0.0, _WARM_SECONDS), SAMPLE_RATE)
        _place(source, prepared_path(self.work, WARM, source.name))


def prepared_path(work: Path, kind: str, name: str) -> Path:
    """The path of the prepared audio of a recording."""
    return work / "prepared" / kind / f"{name}.flac"


def _place(source: Path, target: Path) -> None:
    """Create a hard link (stores follow no symbolic link out of a folder), or a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk
        copyfile(source, target)
