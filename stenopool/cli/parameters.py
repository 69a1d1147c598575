"""Arguments that several commands share, and options made from pydantic fields.

An option has the same name and description in the CLI, the API, Prefect and JSON.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from stenopool.errors import OptionsInvalid
from stenopool.options import ExecutionOptions, SubtitleOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Selection

M = TypeVar("M", bound=BaseModel)

SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE", help="Recordings: a folder, s3://bucket/prefix or block://TYPE/NAME/prefix.")
]
DestinationArgument = Annotated[
    str, typer.Argument(metavar="DESTINATION", help="Transcripts: a location in the same form as SOURCE.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one machine-readable object to stdout.")]

# Headings in the help of a command. An option is below the first one whose model has it.
_PANELS: dict[type[BaseModel], str] = {
    TranscriptionOptions: "Transcription",
    SubtitleOptions: "Subtitles",
    ExecutionOptions: "Execution",
    Selection: "Recordings",
}


def with_options(**models: type[BaseModel]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option to a command for each field of the models, and call the command with the models.

    A model gets only the options that were typed, so that its own defaults and its rules for combinations apply.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        parameters = [parameter for parameter in signature.parameters.values() if parameter.name not in models]
        for model in models.values():
            parameters += [_make_parameter(name, field) for name, field in model.model_fields.items()]

        @wraps(command)
        def call(**values: Any) -> None:
            built = {
                name: _build(model, {field: values.pop(field) for field in model.model_fields})
                for name, model in models.items()
            }
            command(**values, **built)

        call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return call

    return decorate


def _make_parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=(field.description or "") + _describe_default(field),
        show_default=False,
        rich_help_panel=next(title for model, title in _PANELS.items() if name in model.model_fields),
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[_option_type(field.annotation), option],
    )


def _describe_default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=False)
    if default in (None, (), "") or isinstance(default, bool):
        return ""
    return f" Default: {','.join(map(str, default)) if isinstance(default, tuple) else default}."


def _option_type(annotation: Any) -> Any:
    """A field's type for Typer: lists may be repeated or contain commas, and every option may be omitted."""
    if get_origin(annotation) is tuple:
        return list[str] | None
    if get_origin(annotation) is Literal:
        return annotation | None
    kind = next(iter(get_args(annotation)), annotation)  # for `int | None`, this is int
    return (kind if kind in (bool, int, float, str) else str) | None


def _build(model: type[M], typed: dict[str, Any]) -> M:
    """Build the model. Raises `OptionsInvalid` with all errors in one line."""
    given = {name: value for name, value in typed.items() if value is not None}
    if model is not Selection:  # keys and patterns may contain commas
        given = {name: _split_list(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        return model(**given)
    except ValidationError as error:
        faults = "; ".join(_describe_fault(fault) for fault in error.errors())
        raise OptionsInvalid(f"{faults}.") from error


def _describe_fault(fault: ErrorDetails) -> str:
    message = fault["msg"].removeprefix("Value error, ").rstrip(".")
    return f"--{str(fault['loc'][0]).replace('_', '-')}: {message}" if fault["loc"] else message


def _split_list(typed: list[str]) -> list[str]:
    """Split the values of a list option at commas: ``agent, customer`` is two items."""
    return [item.strip() for part in typed for item in part.split(",") if item.strip()]
