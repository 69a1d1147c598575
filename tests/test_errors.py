"""Errors: each has a code, a remedy, and survives the way from one process to another."""

import copy
import pickle

import pytest

from stenopool.errors import (
    REMEDIES,
    TRANSIENT_CODES,
    ErrorCode,
    Failure,
    RecordingError,
    SetupError,
    StenopoolError,
    TransientError,
)


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_says_what_to_do_in_a_line(code: ErrorCode) -> None:
    assert code.value == code.name
    assert REMEDIES[code].endswith(".")
    assert "\n" not in REMEDIES[code]


@pytest.mark.parametrize("kind", [StenopoolError, RecordingError, TransientError, SetupError])
@pytest.mark.parametrize("remedy", [None, "Do this."])
def test_an_error_survives_pickling_and_copying(kind: type[StenopoolError], remedy: str | None) -> None:
    error = kind(ErrorCode.MODEL_MISSING, "No model.", remedy=remedy)
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(again) is kind
        assert (again.code, again.message, again.remedy) == (error.code, error.message, error.remedy)
        assert str(again) == str(error) == f"MODEL_MISSING: No model. {remedy or REMEDIES[error.code]}"


@pytest.mark.parametrize("code", ErrorCode)
def test_error_and_record_agree_on_what_is_worth_another_try(code: ErrorCode) -> None:
    error = StenopoolError(code, "It happened.")
    record = error.failure("prepare")
    assert error.retryable == record.retryable == (code in TRANSIENT_CODES)
    assert record.stage == "prepare"
    assert Failure.model_validate_json(record.model_dump_json()) == record


def test_no_setup_or_input_error_is_tried_again() -> None:
    hopeless = {ErrorCode.INPUT_CORRUPT, ErrorCode.TOO_LONG, ErrorCode.EXTRA_MISSING, ErrorCode.ACCESS_DENIED}
    assert hopeless.isdisjoint(TRANSIENT_CODES)
