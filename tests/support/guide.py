"""Parts of a guide, to be run: the very commands that people copy.

    python -m tests.support.guide commands docs/deploy/kubernetes.md "3. Install" ["4. Try it" ...]
    python -m tests.support.guide values docs/deploy/kubernetes.md overrides.yaml

The first prints the shell blocks below these headings, without assignments of example passwords; the second prints the
page's first YAML block, with the values of a file laid over it.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.markdown import FENCE, blocks


def section(page: Path, heading: str) -> str:
    """The shell blocks below a heading of the second level. Raises ValueError if there are none."""
    _, found, rest = page.read_text("utf-8").partition(f"\n## {heading}\n")
    text = rest.partition("\n## ")[0] if found else ""
    shell = [block for _, language, block in FENCE.findall(text) if language == "sh" and "PASSWORD@" not in block]
    if not shell:
        raise ValueError(f"{page} has no commands below {heading!r}")
    return "\n".join(shell)


def values(page: Path, overrides: dict[str, Any]) -> dict[str, Any]:
    """The values that the guide suggests, with others laid over them as Helm does."""
    return _merge(yaml.safe_load(next(blocks(page, "yaml"))), overrides)


def _merge(under: Any, over: Any) -> Any:
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: _merge(under.get(key), value) for key, value in over.items()}
    return over


if __name__ == "__main__":
    _, what, page, *rest = sys.argv
    if what == "commands":
        print("\n".join(section(Path(page), heading) for heading in rest))
    else:
        print(yaml.safe_dump(values(Path(page), yaml.safe_load(Path(rest[0]).read_text()))))
