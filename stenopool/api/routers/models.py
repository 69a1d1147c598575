"""The list of models in OpenAI's shape, which its clients request first."""

from typing import Literal

from fastapi import APIRouter

from stenopool.api.access import ANY_CALLER, GuardedRoute
from stenopool.api.problems import not_found
from stenopool.api.routers.speech import OPENAI_MODELS
from stenopool.api.schema import Described
from stenopool.api.service import CurrentService, Service

router = APIRouter(prefix="/v1/models", tags=["openai"], route_class=GuardedRoute)


class Model(Described):
    """A value of `model`."""

    id: str
    """The name."""
    object: Literal["model"] = "model"
    """Always `model`."""
    created: int = 0
    """Always 0, because it is unknown."""
    owned_by: str
    """`stenopool`; or `openai`, for names that mean this installation's default."""


class ModelList(Described):
    """All models."""

    object: Literal["list"] = "list"
    """Always `list`."""
    data: list[Model]
    """This installation's models, the default first, then OpenAI's names for the default."""


@router.get("", dependencies=[ANY_CALLER])
async def list_models(service: CurrentService) -> ModelList:
    """List the models that requests may use, and OpenAI's names, which mean the default."""
    return ModelList(data=_models(service))


@router.get("/{id}", dependencies=[ANY_CALLER])
async def get_model(id: str, service: CurrentService) -> Model:
    """Return one model."""
    for model in _models(service):
        if model.id == id:
            return model
    raise not_found("Unknown model.")


def _models(service: Service) -> list[Model]:
    ours = service.allow_lists.allowed["model"]
    return [
        *(Model(id=name, owned_by="stenopool") for name in ours),
        *(Model(id=name, owned_by="openai") for name in OPENAI_MODELS if name not in ours),
    ]
