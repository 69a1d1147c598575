"""Base job templates of the work pools: how a worker starts a run.

    python -m stenopool.orchestration.workers.templates gpu kubernetes > gpu.json

for `prefect work-pool create --base-job-template gpu.json`.
"""

import json
import sys
from typing import Any, Literal, cast

import yaml

from stenopool import __version__, shipped
from stenopool.orchestration.names import PoolKind

PoolType = Literal["kubernetes", "process"]


def template(pool: PoolKind, type_: PoolType) -> dict[str, Any]:
    """The base job template of a pool, as Prefect's API takes it; the caller's own copy.

    Raises KeyError for an unknown pool and FileNotFoundError for an unknown type.
    """
    text = (shipped.folder() / f"workers/templates/{type_}.yaml").read_text(encoding="utf-8")
    found = yaml.safe_load(text.replace("STENOPOOL_VERSION", __version__))[pool]
    # Aliases are one object in several places; through JSON each place gets its own.
    return cast("dict[str, Any]", json.loads(json.dumps(found)))


if __name__ == "__main__":
    _, pool, type_ = sys.argv
    json.dump(template(cast("PoolKind", pool), cast("PoolType", type_)), sys.stdout, indent=2)
