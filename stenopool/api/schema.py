"""The base of the API's models: the docstring of each field is its description in the OpenAPI document."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler

from stenopool.options import TranscriptionOptions


class Described(BaseModel):
    """A model whose fields are described by the docstrings below them."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class _LikeTranscriptionOptions:
    """An object that is documented as `TranscriptionOptions`; `Service.options` parses it and knows the defaults."""

    @classmethod
    def __get_pydantic_json_schema__(cls, _: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(TranscriptionOptions.__pydantic_core_schema__)


RequestedOptions = Annotated[dict[str, Any], _LikeTranscriptionOptions]
