"""The list of models in OpenAI's shape, which its clients request first."""

from typing import Literal

from fastapi import APIRouter

from stenopool.api.access import ANY_CALLER, GuardedRoute
from stenopool.api.openai_form import list_model_names
from stenopool.api.problems import Problem
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
    models = _models(service)
    for model in models:
        if model.id == id:
            return model
    remedy = f"Use {', '.join(model.id for model in models)}."
    errors = [{"field": "model", "message": "Unknown model"}]
    raise Problem(404, "MODEL_NOT_FOUND", "The model is not available here.", remedy, errors=errors)


def _models(service: Service) -> list[Model]:
    return [Model(id=name, owned_by=owner) for name, owner in list_model_names(service)]
