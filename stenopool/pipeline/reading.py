"""Small JSON objects read one by one: what cannot be read must not stand between a person and all the others."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from stenopool.runtime.progress import logger
from stenopool.storage.base import ObjectStore

M = TypeVar("M", bound=BaseModel)


def read_model(store: ObjectStore, key: str, kind: type[M]) -> M | None:
    """An object's content; None if there is no such object or, with a warning, if it cannot be read."""
    data = store.get_bytes(key, None)
    try:
        return None if data is None else kind.model_validate_json(data)
    except ValidationError as error:
        warn_skipped(store, key, error)
        return None


def warn_skipped(store: ObjectStore, key: str, error: ValidationError) -> None:
    """Log that an object is left out."""
    logger.warning("%s is skipped: %d of its values are wrong.", store.uri_of(key), error.error_count())
