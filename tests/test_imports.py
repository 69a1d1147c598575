"""Importing a module only defines things; the owner of the process configures it."""

import ast
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import stenopool

ROOT = Path(stenopool.__file__).parents[1]
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(stenopool.__path__, "stenopool.")
    if not module.name.endswith("__main__")
)

# The second import is checked: by then, third-party packages are loaded, and their side effects are over.
PROGRAM = """
import atexit, gc, importlib, json, logging, os, signal, sys, threading
from multiprocessing import util as _  # registers its own function

def state():
    named = logging.root.manager.loggerDict.values()
    loggers = [logging.root, *(one for one in named if isinstance(one, logging.Logger))]
    return {
        "log": {
            one.name: [one.level, type(one).__name__, *(repr(handler.formatter) for handler in one.handlers)]
            for one in loggers
        },
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "atexit": atexit._ncallbacks(),
        "signals": {one.name: repr(signal.getsignal(one)) for one in signal.Signals},
        "environment": dict(os.environ),
        "path": list(sys.path),
        "folder": os.getcwd(),
    }

forks = []
os.register_at_fork = lambda **hooks: forks.append(hooks)
modules = json.loads(sys.argv[1])
for name in modules:
    importlib.import_module(name)
for name in [name for name in sys.modules if name.partition(".")[0] == "stenopool"]:
    del sys.modules[name]
gc.collect()
found = {}
for name in modules:
    before = state()
    forks.clear()
    importlib.import_module(name)
    changed = [what for what, value in state().items() if value != before[what]] + ["fork hooks"] * bool(forks)
    if changed:
        found[name] = changed
print(json.dumps({"changed": found, "loaded": sorted({name.partition(".")[0] for name in sys.modules})}))
"""

_WARM_WORKER = "stenopool.orchestration.workers.warm_worker"

# Packages that take seconds or hundreds of megabytes, and the only modules that may import them at import time.
HEAVY = {
    "torch": (),
    "torchaudio": (),
    "ctranslate2": (),
    "faster_whisper": (),
    "whisper": (),
    "whisperx": (),
    "pyannote": (),
    "senko": (),
    "transformers": (),
    "onnxruntime": (),
    "scipy": (),
    "matplotlib": (),
    "kubernetes_asyncio": (),
    "av": ("stenopool.speech.audio.prober",),
    "pydub": ("stenopool.speech.audio",),
    "boto3": ("stenopool.storage.s3",),
    "prefect": ("stenopool.orchestration", "stenopool.api", "stenopool.exporter"),
    "fastapi": ("stenopool.api", "stenopool.exporter", "stenopool.runtime.health", _WARM_WORKER),
}


@pytest.fixture(scope="module")
def imported() -> dict[str, dict[str, list[str]]]:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(MODULES)],
        env=os.environ | {"STENOPOOL_LOG__FORMAT": "json"},  # configuring the log would change a formatter
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return dict(json.loads(run.stdout.splitlines()[-1]))


def test_an_import_changes_nothing_in_the_process(imported: dict[str, dict[str, list[str]]]) -> None:
    assert imported["changed"] == {}


def test_packages_of_adapters_are_loaded_by_no_import(imported: dict[str, dict[str, list[str]]]) -> None:
    nobody = [name for name, modules in HEAVY.items() if not modules]
    assert [name for name in nobody if name in imported["loaded"]] == []


@pytest.mark.parametrize("package", HEAVY)
def test_a_heavy_package_is_imported_only_where_it_is_used(package: str) -> None:
    found = {name for name in MODULES if package in _imported_at_import(_path(name))}
    assert {name for name in found if not name.startswith(HEAVY[package] or ("nowhere",))} == set()


def _path(name: str) -> Path:
    path = ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imported_at_import(path: Path) -> set[str]:
    """Top-level packages that a module imports when it is imported: not in functions, not for types alone."""
    found: set[str] = set()

    def walk(statements: list[ast.stmt]) -> None:
        for statement in statements:
            if isinstance(statement, ast.Import):
                found.update(name.name.partition(".")[0] for name in statement.names)
            elif isinstance(statement, ast.ImportFrom):
                found.add(str(statement.module).partition(".")[0])
            elif isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
                walk(statement.orelse)
            elif isinstance(statement, (ast.If, ast.Try, ast.With, ast.ClassDef)):
                walk(statement.body)

    walk(ast.parse(path.read_text(encoding="utf-8")).body)
    return found
