"""Subtitle styles, from the command line and Prefect's form to the files."""

from pathlib import Path
from shutil import copyfile

import pytest
from prefect.utilities.callables import parameter_schema

from stenopool.options import ExecutionOptions, SubtitleOptions
from stenopool.orchestration import entrypoints
from stenopool.speech.renderers import render
from stenopool.speech.transcript import Transcript
from tests.speech.renderers.samples import STYLES, conversation
from tests.support.command_line import Call
from tests.support.speech import needs_speech, recording_path

FAST = ("--model", "tiny.en", "--diarization", "off", "--device", "cpu", "--formats", "srt")


def _typed(style: dict[str, object]) -> list[str]:
    words = [(f"--{name.replace('_', '-')}", "" if value is True else str(value)) for name, value in style.items()]
    return [word for pair in words for word in pair if word]


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_show_prints_a_transcript_in_another_style(style: dict[str, object], stenopool: Call, tmp_path: Path) -> None:
    (tmp_path / "transcript.json").write_text(render(conversation(), "json"))
    answer = stenopool("show", tmp_path, "--format", "vtt", *_typed(style))
    assert answer.out == render(conversation(), "vtt", SubtitleOptions.model_validate(style))
    assert answer.out != render(conversation(), "vtt")


@needs_speech
def test_a_run_writes_its_style_and_keeps_existing_files(stenopool: Call, tmp_path: Path) -> None:
    source, destination = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    copyfile(recording_path("en/jfk.flac"), source / "jfk.flac")
    style = {"max_words_per_line": 1, "highlight_words": True}
    assert stenopool("run", source, destination, *FAST, *_typed(style)).code == 0
    files = destination / "jfk.flac"
    transcript = Transcript.model_validate_json((files / "transcript.json").read_text())
    written = (files / "transcript.srt").read_text()
    assert written == render(transcript, "srt", SubtitleOptions.model_validate(style))
    assert "<u>" in written
    assert stenopool("run", source, destination, *FAST).code == 0
    assert (files / "transcript.srt").read_text() == written


def test_the_form_has_every_subtitle_option() -> None:
    form = parameter_schema(entrypoints.load("ingest")).model_dump_for_openapi()
    offered = form["definitions"]["ExecutionOptions"]["properties"]
    assert offered.keys() == ExecutionOptions.model_fields.keys()
    for name, field in SubtitleOptions.model_fields.items():
        assert offered[name]["description"] == field.description
        assert offered[name].get("default") == field.default
