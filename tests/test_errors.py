"""Errors: each has a code and a remedy, and survives being passed between processes."""

import ast
import copy
import pickle
from pathlib import Path

import pytest

import stenopool
from stenopool import errors
from stenopool.errors import (
    Disposition,
    ErrorCode,
    Failure,
    RecordingError,
    SetupError,
    StenopoolError,
    TransientError,
)


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_a_remedy_in_one_line(code: ErrorCode) -> None:
    assert code.value == code.name
    for text in (code.meaning, code.remedy):
        assert text.endswith(".")
        assert "\n" not in text


@pytest.mark.parametrize("kind", [StenopoolError, RecordingError, TransientError, SetupError])
@pytest.mark.parametrize("remedy", [None, "Do this."])
def test_an_error_survives_pickling_and_copying(kind: type[StenopoolError], remedy: str | None) -> None:
    error = kind(ErrorCode.MODEL_MISSING, "No model.", remedy=remedy)
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(again) is kind
        assert (again.code, again.message, again.remedy) == (error.code, error.message, error.remedy)
        assert str(again) == str(error) == f"MODEL_MISSING: No model. {remedy or error.code.remedy}"


CONDITIONS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and isinstance(vars(kind).get("code"), ErrorCode)
]
CATEGORIES = (RecordingError, TransientError, SetupError)


@pytest.mark.parametrize("kind", CONDITIONS)
def test_an_error_class_has_its_code_remedy_and_category(kind: type[errors.ObjectNotFound]) -> None:
    error = kind("It happened.")
    assert str(error) == f"{kind.code}: It happened. {kind.code.remedy}"
    assert kind("It happened.", remedy="Do this.").remedy == "Do this."
    assert [category for category in CATEGORIES if isinstance(error, category)] == [
        next(category for category in CATEGORIES if issubclass(kind, category))
    ]
    allowed = {
        RecordingError: {Disposition.QUARANTINE, Disposition.WAIT},
        TransientError: {Disposition.WAIT},
        SetupError: {Disposition.STOP},
    }
    assert kind.code.disposition in next(allowed[category] for category in CATEGORIES if issubclass(kind, category))
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert (type(again), str(again)) == (kind, str(error))


def test_no_code_has_two_classes() -> None:
    assert len({kind.code for kind in CONDITIONS}) == len(CONDITIONS)


def product_trees() -> dict[str, ast.AST]:
    package = Path(stenopool.__file__).parent
    paths = [*package.rglob("*.py"), *(package.parent / "flows").glob("*.py")]
    return {str(path): ast.parse(path.read_text()) for path in paths if path != package / "errors.py"}


def test_errors_are_raised_through_their_classes_and_codes_are_never_compared() -> None:
    """Otherwise ``except ObjectNotFound`` would miss an error raised as a plain `SetupError`."""
    own = {kind.code.name for kind in CONDITIONS}
    bases = {category.__name__ for category in CATEGORIES}
    found = []
    for path, tree in product_trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in bases and node.args:
                first = node.args[0]
                if isinstance(first, ast.Attribute) and first.attr in own:
                    found.append(f"{path}:{node.lineno} raises {first.attr} as {node.func.id}")
            if isinstance(node, ast.Compare) and ast.unparse(node.left) == "error.code":
                found.append(f"{path}:{node.lineno} compares a code")
    assert found == []


@pytest.mark.parametrize("code", ErrorCode)
def test_the_record_of_an_error_has_the_same_text(code: ErrorCode) -> None:
    error = StenopoolError(code, "It happened.")
    record = error.failure("prepare")
    assert (record.code, record.message, record.remedy) == (code, error.message, error.remedy)
    assert record.stage == "prepare"
    assert Failure.model_validate_json(record.model_dump_json()) == record


def test_content_errors_are_quarantined_and_other_errors_wait() -> None:
    content = {ErrorCode.INPUT_CORRUPT, ErrorCode.TOO_LONG, ErrorCode.KEY_UNUSABLE, ErrorCode.NOT_A_FILE}
    around = {ErrorCode.OBJECT_ARCHIVED, ErrorCode.OBJECT_DENIED, ErrorCode.OBJECT_ENCRYPTED, ErrorCode.OBJECT_GONE}
    assert {code.disposition for code in content} == {Disposition.QUARANTINE}
    assert {code.disposition for code in around} == {Disposition.WAIT}
