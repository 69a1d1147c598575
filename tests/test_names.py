"""One word, one meaning: no two modules and no two public classes of the package have the same name.

In ``cli/`` and ``api/routers/`` a module is named after its command or resource; ``base`` is always a package's
protocol, ``app`` always an ASGI application. ``client`` is for other programs: its classes are named after the API's.
"""

import ast
from collections import defaultdict
from pathlib import Path

import stenopool

PACKAGE = Path(stenopool.__file__).parent
NAMED_AFTER_WHAT_THEY_SERVE = ("cli/", "api/routers/")
ALWAYS_THE_SAME = {"base", "app"}


def modules() -> dict[str, Path]:
    """Every module and package, by its path in the package."""
    found = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    assert len(found) > 100
    return found


def test_no_two_modules_have_the_same_name() -> None:
    called: defaultdict[str, list[str]] = defaultdict(list)
    for name, path in modules().items():
        if not name.startswith(NAMED_AFTER_WHAT_THEY_SERVE) and path.parent != PACKAGE / "_shipped":
            called[path.parent.name if path.name == "__init__.py" else path.stem].append(name)
    twice = {name: places for name, places in called.items() if len(places) > 1 and name not in ALWAYS_THE_SAME}
    assert twice == {}


def test_no_two_public_classes_have_the_same_name() -> None:
    called: defaultdict[str, list[str]] = defaultdict(list)
    for name, path in modules().items():
        for node in ast.parse(path.read_text("utf-8")).body if name != "client.py" else ():
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                called[node.name].append(name)
    assert {name: places for name, places in called.items() if len(places) > 1} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    long = [
        f"{name}: {node.name}"
        for name, path in modules().items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long == []
