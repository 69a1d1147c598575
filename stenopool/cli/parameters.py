"""Command-line options made from pydantic fields: one description, one spelling, for every way Stenopool is used."""

import inspect
from collections.abc import Callable
from functools import wraps
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from stenopool.errors import ErrorCode, SetupError
from stenopool.options import ExecutionOptions, SubtitleOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Selection

M = TypeVar("M", bound=BaseModel)

# Headings of the options in a command's help. A model's own fields stand under the last heading that has them.
_PANELS: dict[type[BaseModel], str] = {
    TranscriptionOptions: "Transcription",
    ExecutionOptions: "Execution",
    SubtitleOptions: "Subtitles",
    Selection: "Recordings",
}


def with_options(**models: type[BaseModel]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option per field of each model; it is called with the models, by the names given here.

    Only what a person typed is passed to a model, so that its own defaults, and rules on what goes with what, hold.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        own = [parameter for parameter in signature.parameters.values() if parameter.name not in models]
        generated = [
            _parameter(field_name, field, panel=_panel(model_type, field_name))
            for model_type in models.values()
            for field_name, field in model_type.model_fields.items()
        ]

        @wraps(command)
        def call(**values: Any) -> None:
            built = {}
            for name, model_type in models.items():
                typed = {field: values.pop(field) for field in model_type.model_fields}
                built[name] = build(model_type, _values(model_type, typed))
            command(**values, **built)

        call.__signature__ = signature.replace(parameters=[*own, *generated])  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in [*own, *generated]}
        return call

    return decorate


def build(model: type[M], values: dict[str, Any]) -> M:
    """The model, or `SetupError` OPTIONS_INVALID that says in a line what does not go."""
    try:
        return model(**values)
    except ValidationError as error:
        faults = "; ".join(_described(fault) for fault in error.errors())
        raise SetupError(ErrorCode.OPTIONS_INVALID, f"{faults}.") from error


def _described(fault: Any) -> str:
    message = str(fault["msg"]).removeprefix("Value error, ").rstrip(".")
    where = ".".join(str(part) for part in fault["loc"][:1])
    return f"--{where.replace('_', '-')}: {message}" if where else message


def _panel(model: type[BaseModel], field: str) -> str:
    return [title for kind, title in _PANELS.items() if issubclass(model, kind) and field in kind.model_fields][-1]


def _parameter(name: str, field: FieldInfo, *, panel: str) -> inspect.Parameter:
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=(field.description or "") + _default_text(field),
        show_default=False,
        rich_help_panel=panel,
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[_typed(field.annotation), option],
    )


def _default_text(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=False)
    if default in (None, (), "") or isinstance(default, bool):
        return ""
    return f" Default: {','.join(map(str, default)) if isinstance(default, tuple) else default}."


def _typed(annotation: Any) -> Any:
    """The annotation as Typer knows it: lists may be repeated or hold commas, everything may be left out."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _typed(next(argument for argument in arguments if argument is not type(None)))
    if origin is Annotated:
        return _typed(arguments[0])
    if origin is tuple:
        return list[str] | None
    if origin is Literal:
        return Union[annotation, None]  # noqa: UP007 (a Literal at run time)
    return (annotation if annotation in (bool, int, float, str) else str) | None


def _values(model: type[BaseModel], typed: dict[str, Any]) -> dict[str, Any]:
    """What was typed, as the model takes it."""
    commas = model is not Selection  # keys and patterns may hold commas themselves
    return {
        name: _split_list(value) if isinstance(value, list) and commas else value
        for name, value in typed.items()
        if value is not None
    }


def _split_list(typed: list[str]) -> list[str]:
    """The items of a list that was typed with commas, repeated, or both: ``agent, customer`` has two."""
    return [item.strip() for part in typed for item in part.split(",") if item.strip()]
