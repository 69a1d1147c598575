"""The real program with a journal: every step, every costly call, every write to storage.

python -m tests.support.journal JOURNAL run SOURCE DESTINATION [options]

A line per step, "action, tab, object", written to the kernel before the step: SIGKILL loses none. Speech work is
recorded when it starts ("decode", "speech"), so work that started twice was done at most twice.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from stenopool.cli import main
from stenopool.options import TranscriptionOptions
from stenopool.pipeline.stages import prepare
from stenopool.runtime.logs import subscribe
from stenopool.speech.engines.base import Utterance
from stenopool.speech.engines.faster_whisper import FasterWhisperEngine
from stenopool.storage.s3 import S3Store


class Journal:
    """Appends lines to a file, one system call each."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: str, on: str) -> None:
        os.write(self._file, f"{what}\t{on}\n".encode())

    def before(self, owner: Any, name: str, what: str, on: Callable[..., str]) -> None:
        """Write a line before each call of a function; ``on`` returns the object from its arguments."""
        real = getattr(owner, name)

        def noted(*arguments: Any, **named: Any) -> Any:
            self.note(what, on(*arguments))
            return real(*arguments, **named)

        setattr(owner, name, noted)


def read_started(path: Path) -> tuple[list[str], list[str]]:
    """Fingerprints of work that the journal's process started: recordings to decode, and recordings passed to the
    engine.
    """
    lines = [line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    return (
        [on for what, on in lines if what == "decode"],
        [on for what, on in lines if what == "speech"],
    )


def _note_utterances(journal: Journal) -> None:
    """A line for each utterance when the engine starts it."""
    real = FasterWhisperEngine.transcribe

    def noted(engine: FasterWhisperEngine, batch: Iterable[Utterance], options: TranscriptionOptions) -> Any:
        def noting() -> Iterator[Utterance]:
            for utterance in batch:
                journal.note("speech", utterance.id.partition("#")[0])
                yield utterance

        return real(engine, noting(), options)

    FasterWhisperEngine.transcribe = noted  # type: ignore[method-assign]


if __name__ == "__main__":
    journal = Journal(Path(sys.argv.pop(1)))
    journal.before(prepare, "prepare_audio", "decode", lambda source, *_: source.parent.name)
    _note_utterances(journal)
    for write in ("put_file", "put_bytes", "delete"):
        journal.before(S3Store, write, write.partition("_")[0], lambda _store, key, *_: key)
    with subscribe(lambda event: journal.note(event.kind, event.key)):
        main()
