"""The model of prefect.yaml: the part of Prefect's format that Stenopool uses."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from prefect.client.schemas.schedules import CronSchedule
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from stenopool import shipped
from stenopool.errors import ObjectNotFound, OptionsInvalid
from stenopool.orchestration.names import PoolKind, pool_kind

FLOWS = tuple(f"flows/{name}.py:{name}" for name in ("ingest", "prepare", "transcribe", "watch"))

# The same for all deployments; see prefect.yaml.
PULL_STEPS: list[dict[str, Any]] = [{"stenopool.orchestration.entrypoints.enter": {}}]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Schedule(CronSchedule):
    """When a deployment runs automatically."""

    timezone: str = "UTC"
    active: bool = True
    slug: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class PoolAndQueue(_Strict):
    """The pool and queue of a deployment's runs. ``name`` may include the pools' prefix."""

    name: Annotated[PoolKind, BeforeValidator(lambda name: pool_kind(name) or name)]
    work_queue_name: str
    job_variables: dict[str, Any] = Field(default_factory=dict)


class Limit(_Strict):
    """The maximum number of concurrent runs of a deployment; further runs wait or are cancelled."""

    limit: Annotated[int, Field(ge=1)]
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"


class Deployment(_Strict):
    """One deployment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    entrypoint: str
    work_pool: PoolAndQueue
    description: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    schedules: list[Schedule] = Field(default_factory=list)
    concurrency_limit: Limit | None = None
    tags: list[str] = Field(default_factory=list)

    @property
    def flow(self) -> str:
        """The flow's name."""
        return self.entrypoint.rpartition(":")[2]

    @field_validator("entrypoint")
    @classmethod
    def _ours(cls, value: str) -> str:
        if value not in FLOWS:
            raise ValueError(f"{value!r} is not one of {', '.join(FLOWS)}")
        return value

    @model_validator(mode="after")
    def _schedules_know_what_to_do(self) -> "Deployment":
        for schedule in self.schedules:
            missing = {"source", "destination"} - {*self.parameters, *schedule.parameters}
            if self.flow in ("ingest", "watch") and missing:
                raise ValueError(f"deployment {self.name} is scheduled without {' and '.join(sorted(missing))}")
        return self


class Specification(_Strict):
    """The content of a file."""

    deployments: list[Deployment]
    name: str = "stenopool"
    pull: list[dict[str, Any]] = PULL_STEPS

    @field_validator("pull")
    @classmethod
    def _as_ours(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if value != PULL_STEPS:
            raise ValueError("omit this: the flows are installed, so nothing is pulled")
        return value


def read(*own: Path) -> list[Deployment]:
    """Read the deployments of prefect.yaml and of your own files; the last one with a name is used.

    Raises `OptionsInvalid` with the file and the error.
    """
    found: dict[tuple[str, str], Deployment] = {}
    for path in (shipped.folder() / "deployments/prefect.yaml", *own):
        for deployment in _read_file(path).deployments:
            found[deployment.entrypoint, deployment.name] = deployment
    return list(found.values())


def _read_file(path: Path) -> Specification:
    try:
        return Specification.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise ObjectNotFound(f"{path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        wrong = f"invalid YAML: {error}"
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    raise OptionsInvalid(f"{path}: {wrong}.", remedy="Correct the file.")
