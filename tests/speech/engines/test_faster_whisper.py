"""The default engine on a device that is short of memory, and with speech that the first pass missed."""

import logging
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stenopool.errors import ErrorCode, OutOfMemory
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.vad import Region
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.engines.base import Utterance
from stenopool.speech.engines.decoding import WindowResult
from stenopool.speech.engines.faster_whisper import FasterWhisperEngine
from stenopool.speech.engines.policy import NO_HINTS
from stenopool.speech.engines.utterance_job import UtteranceJob, Window, cut_at_missing
from stenopool.speech.transcript import NO_SPEECH, SPEECH_UNCLEAR, Transcript, Word
from tests.support.speech import needs_speech, recording_path, recordings

OPTIONS = TranscriptionOptions(model="tiny.en", diarization="off")


class SmallDevice:
    """Simulates a decoder on a GPU with room for this many windows; no real GPU can be filled here."""

    multilingual = True
    fixed_language = "en"
    on_cpu = False
    hints = NO_HINTS
    options = OPTIONS

    def __init__(self, room: int) -> None:
        self.room = room

    def encode(self, windows: Sequence[Any], frame: float) -> Any:
        if len(windows) > self.room:
            raise RuntimeError("CUDA failed with error out of memory")
        return len(windows)

    def decode(self, encoded: int, languages: Sequence[str], durations: Sequence[float]) -> list[WindowResult]:
        words = [Word(word=" yes", start=0.0, end=duration) for duration in durations]
        return [_said(" yes yes yes", [word]) for word in words]


def _said(text: str, words: list[Word]) -> WindowResult:
    return WindowResult("en", text, [1, 2, 3], -0.1, 0.0, words=words)


def _windows(folder: Path, room: int) -> tuple[FasterWhisperEngine, list[Window], list[Any]]:
    flac = folder / "audio.flac"
    soundfile.write(flac, np.zeros(16_000 * 40, np.float32), 16_000)
    answers: list[Any] = []
    job = UtteranceJob(
        Utterance("a", Waveform(flac)),
        SmallDevice(room),  # type: ignore[arg-type]
        answers.append,
    )
    job.speech = [Region(float(n), n + 1.0) for n in range(0, 40, 5)]
    engine = FasterWhisperEngine("base", ExecutionOptions(device="cpu"))
    return engine, [Window(job, region) for region in job.speech], answers


def test_a_batch_that_does_not_fit_is_halved_until_it_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine, windows, answers = _windows(tmp_path, room=2)
    with caplog.at_level(logging.WARNING):
        engine._decode(windows)
    assert answers == windows
    assert all(spans[0][1].text == " yes yes yes" for window in answers for spans in [window.said])
    assert "Out of memory with 8 windows at once; continuing with 4." in caplog.messages


def test_a_single_window_that_does_not_fit_is_a_device_error(tmp_path: Path) -> None:
    engine, windows, answers = _windows(tmp_path, room=0)
    engine._decode(windows)
    assert answers == windows
    assert {window.said.code for window in answers} == {ErrorCode.OUT_OF_MEMORY}


@needs_speech
def test_a_device_without_room_for_one_window_ends_the_call(tmp_path: Path) -> None:
    engine = FasterWhisperEngine("base", ExecutionOptions(device="cpu"))
    engine._loaded = object()  # loaded, and never asked
    engine.decoder = lambda _: SmallDevice(0)  # type: ignore[assignment, return-value]
    with pytest.raises(OutOfMemory, match="single window"):
        list(engine.transcribe(_prepared(tmp_path, engine, 2), OPTIONS))


@pytest.mark.parametrize(
    ("said", "text", "flags"),
    [
        (_said(" And here we are.", [Word(word=" are.", start=0.2, end=1.9)]), "Hello. are.", []),
        (WindowResult("en", " Thank you.", [1, 2], -0.3, 0.95), "Hello.", []),
        (WindowResult("en", " um hm", [1, 2], -1.6, 0.1), "Hello.", [SPEECH_UNCLEAR]),
    ],
    ids=["speech", "noise", "unclear"],
)
def test_doubtful_speech_is_accepted_dropped_or_flagged(
    said: WindowResult, text: str, flags: list[str], tmp_path: Path
) -> None:
    _, (first, *_), _ = _windows(tmp_path, room=1)
    job = first.job
    job.speech, job.open, job.language = [Region(0.0, 2.0)], 2, ("en", 1.0)
    sure, doubtful = Window(job, Region(0.0, 2.0)), Window(job, Region(20.0, 22.0), doubtful=True)
    job.keep(doubtful, [(doubtful.region, said)])
    job.keep(sure, [(sure.region, _said(" Hello.", [Word(word=" Hello.", start=0.1, end=0.5)]))])
    transcript = job.transcript()
    assert (transcript.text, transcript.flags) == (text, flags)
    assert [(span.start, span.end) for span in transcript.untranscribed] == ([(20.0, 22.0)] if flags else [])
    assert [segment.flags for segment in transcript.segments] == [[] for _ in transcript.segments]


def test_doubtful_speech_inside_a_window_is_decoded_if_the_window_has_no_words_there(tmp_path: Path) -> None:
    _, (first, *_), _ = _windows(tmp_path, room=1)
    job = first.job
    job.open, job.language = 1, ("en", 1.0)
    window, quiet = Window(job, Region(0.0, 12.0)), Region(4.0, 7.0)
    ends = [Word(word=" Hello.", start=0.1, end=4.2), Word(word=" Bye.", start=6.8, end=12.0)]
    job.waiting = [quiet, Region(20.0, 22.0)]
    assert (
        job.keep(window, [(window.region, _said(" Hello. Yes. Bye.", [*ends, Word(word=" Yes.", start=5, end=6)]))])
        == []
    )
    job.open = 1
    (more,) = job.keep(window, [(window.region, _said(" Hello. Bye.", ends))])
    assert (more.region, more.doubtful, more.language, job.open) == (quiet, True, "en", 1)
    assert job.keep(more, [(quiet, _said(" Yes, it went to the harbour.", [Word(word=" Yes.", start=1, end=2)]))]) == []
    assert (job.open, job.found) == (0, [quiet])


@given(st.permutations(range(8)), st.sets(st.integers(0, 7), max_size=2))
def test_progress_is_the_beginning_of_the_transcript(order: list[int], unsure: set[int]) -> None:
    """Whatever the order in which windows are decoded, and whichever languages are uncertain at first."""
    reports: list[Transcript] = []
    decoder: Any = SmallDevice(9)
    job = UtteranceJob(Utterance("a", Waveform(Path("a.flac")), reports.append), decoder, lambda window: None)
    job.speech = [Region(5.0 * number, 5.0 * number + 1) for number in range(8)]
    windows = [Window(job, region, opinion={"en": 0.6}) for region in job.speech]
    job.pending, job.open, job.windows = {*windows}, len(windows), len(windows)
    waiting = [(windows[number], number in unsure) for number in order]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stenopool.speech.engines.utterance_job._PROGRESS_SECONDS", 0.0)
        patch.setattr(Waveform, "duration", 40.0)
        while waiting:
            window, is_unsure = waiting.pop(0)
            word = Word(word=f" Word{window.region.start:.0f}.", start=0.0, end=1.0)
            said = [] if is_unsure else [(window.region, _said(word.word, [word]))]
            waiting += [(each, False) for each in job.keep(window, said)]
            job.report()
        whole = job.transcript()
    assert len(whole.segments) == 8
    for report in reports:
        assert report.segments == whole.segments[: len(report.segments)]
        assert whole.text.startswith(report.text)
    lengths = [len(report.segments) for report in reports]
    assert lengths == sorted({*lengths})


def test_noise_alone_has_no_language(tmp_path: Path) -> None:
    _, (first, *_), _ = _windows(tmp_path, room=1)
    job = first.job
    job.open, job.language = 1, ("nn", 0.2)
    noise = Window(job, Region(20.0, 22.0), doubtful=True)
    job.keep(noise, [(noise.region, WindowResult("nn", " Takk.", [1], -0.3, 0.95))])
    assert job.transcript() == Transcript(duration=40.0, flags=[NO_SPEECH])


def test_speech_without_words_is_found_and_cut_off_at_the_pause_before_it() -> None:
    window = Region(10.0, 35.0)
    speech = [Region(10.0, 18.0), Region(20.0, 35.0)]
    heard = _said(" hello", [Word(word=" hello", start=0.0, end=7.5)])
    assert cut_at_missing(window, heard, speech) == [Region(10.0, 19.0), Region(19.0, 35.0)]


def test_a_pause_is_not_missing_speech() -> None:
    window = Region(0.0, 20.0)
    heard = _said(" one two", [Word(word=" one", start=0.0, end=3.0), Word(word=" two", start=16.0, end=20.0)])
    assert cut_at_missing(window, heard, [Region(0.0, 3.2), Region(15.8, 20.0)]) == [window]


def test_speech_without_a_pause_cannot_be_cut() -> None:
    window = Region(0.0, 20.0)
    heard = _said(" one", [Word(word=" one", start=0.0, end=1.0)])
    assert cut_at_missing(window, heard, [window]) == [window]


@needs_speech
def test_a_recordings_text_does_not_depend_on_other_recordings(tmp_path: Path) -> None:
    engine = FasterWhisperEngine("tiny.en", ExecutionOptions(device="cpu"))
    batch = _prepared(tmp_path, engine, 10)
    together = {utterance.id: answer for utterance, answer in engine.transcribe(batch, OPTIONS)}
    assert len(together) == 10
    for some in (batch[::3], batch[1::3], batch[2::3], batch[:1]):
        for utterance, answer in engine.transcribe(some, OPTIONS):
            assert answer == together[utterance.id]


def _prepared(folder: Path, engine: FasterWhisperEngine, count: int) -> list[Utterance]:
    batch = []
    for item in recordings("en_short")[:count]:
        flac = folder / f"{len(batch)}.flac"
        prepare_audio(recording_path(item["file"]), flac, OPTIONS, engine.execution)
        batch.append(Utterance(item["file"], Waveform(flac)))
    return batch


@needs_speech
def test_the_first_result_comes_before_the_last_recording_is_read(tmp_path: Path) -> None:
    engine = FasterWhisperEngine("tiny.en", ExecutionOptions(device="cpu"))
    batch = _prepared(tmp_path, engine, 2)
    answered = threading.Event()

    def coming() -> Iterator[Utterance]:
        yield batch[0]
        assert answered.wait(60)
        yield batch[1]

    names = []
    for utterance, _ in engine.transcribe(coming(), OPTIONS):
        names.append(utterance.id)
        answered.set()
    assert names == [utterance.id for utterance in batch]


@needs_speech
def test_two_concurrent_calls_get_their_own_results(tmp_path: Path) -> None:
    engine = FasterWhisperEngine("tiny.en", ExecutionOptions(device="cpu"))
    batch = _prepared(tmp_path, engine, 8)
    alone = {utterance.id: answer for utterance, answer in engine.transcribe(batch, OPTIONS)}
    with ThreadPoolExecutor(2) as both:
        halves = [batch[::2], batch[1::2]]
        heard = list(both.map(lambda half: {u.id: answer for u, answer in engine.transcribe(half, OPTIONS)}, halves))
    assert [set(one) for one in heard] == [{u.id for u in half} for half in halves]
    assert heard[0] | heard[1] == alone


@needs_speech
def test_exceptions_of_the_caller_propagate_and_the_engine_stays_usable(tmp_path: Path) -> None:
    engine = FasterWhisperEngine("tiny.en", ExecutionOptions(device="cpu"))
    batch = _prepared(tmp_path, engine, 1)

    def broken() -> Iterator[Utterance]:
        yield batch[0]
        raise InterruptedError("asked to stop")

    with pytest.raises(InterruptedError):
        list(engine.transcribe(broken(), OPTIONS))
    assert [utterance.id for utterance, _ in engine.transcribe(batch, OPTIONS)] == [batch[0].id]
