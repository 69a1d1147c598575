"""None of our code executes its input: checked for every module, and each rule finds a planted mistake."""

import re

import pytest

from tests.hostile.policy import PACKAGES, ROOT, findings

MISTAKES = {
    "import pickle": "pickle",
    "from joblib import load": "joblib",
    "def load():\n    import cloudpickle.cloudpickle": "cloudpickle",
    "import torch\ntorch.load('a.pt')": "weights_only",
    "import torch as t\nt.load('a.pt', weights_only=False)": "weights_only",
    "from torch import load as read\nread('a.pt', map_location='cpu')": "weights_only",
    "import numpy as np\nnp.load('a.npz', allow_pickle=True)": "allow_pickle",
    "eval('1')": "eval",
    "exec('1')": "exec",
    "import os\nos.system('ls')": "shell",
    "import subprocess\nsubprocess.run('ls', shell=True)": "shell=True",
    "from subprocess import Popen\nPopen('ls', shell=loud)": "shell=True",
    "import asyncio\nasyncio.create_subprocess_shell('ls')": "shell",
    "import yaml\nyaml.load(text)": "yaml",
    "import tempfile\ntempfile.mktemp()": "mktemp",
    "import os\nos.chmod(path, 0o777)": "everybody",
    "path.mkdir(mode=0o1777)": "everybody",
    "import os\nos.umask(0)": "everybody",
    "from pathlib import Path\nPath('/tmp/ours').mkdir()": "/tmp",
    "open('/tmp/ours', 'w')": "/tmp",
    "AutoModel.from_pretrained(name, trust_remote_code=True)": "comes with the weights",
    "import sys\n[sys.executable, '-m', 'uvicorn']": "-P",
    "import sys\n[sys.executable, __file__]": "-P",
    "from sys import executable\n('nice', executable, '-c', code, *more)": "-P",
    "import asyncio, sys\nasyncio.create_subprocess_exec(sys.executable, '-m', 'prefect')": "-P",
    "@flow(result_serializer='compressed/pickle')\ndef run(): ...": "pickle",
}
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_our_code_follows_the_rules() -> None:
    assert len(MODULES) > 100
    found = [
        f"{path.relative_to(ROOT)}:{line}: {rule}" for path in MODULES for line, rule in findings(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_mistake_is_found(mistake: str) -> None:
    assert any(MISTAKES[mistake] in rule for _, rule in findings(mistake))


@pytest.mark.parametrize(
    "fine",
    [
        "import torch\ntorch.load('a.pt', weights_only=True)",
        "import numpy as np\nnp.load('a.npz')",
        "model.eval()",
        "re.compile('a')",
        "import subprocess\nsubprocess.run(['ls'], shell=False)",
        "path.mkdir(mode=0o770)",
        "import sys\n[sys.executable, '-P', '-m', 'uvicorn']",
        "import sys\nPath(sys.executable).with_name('stenopool')",
    ],
)
def test_allowed_code_passes(fine: str) -> None:
    assert list(findings(fine)) == []


# Commands of containers and of the files that we ship, without comments.
SHIPPED = [
    path
    for folder in ("workers", "deployments", "monitoring")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in (".yaml", ".sh", ".Dockerfile") or path.name == "Dockerfile"
]
_COMMAND = re.compile(r"\bpython[0-9.]*[\"']?[\s,]+[\"']?(?!-P\b)-")


def test_container_commands_import_nothing_from_the_current_folder() -> None:
    assert len(SHIPPED) > 20
    lines = [(path, line) for path in SHIPPED for line in path.read_text().splitlines() if line.strip()[:1] != "#"]
    assert any("python, -P, -m" in line for _, line in lines)
    assert [f"{path.relative_to(ROOT)}: {line}" for path, line in lines if _COMMAND.search(line)] == []
    (image,) = [path for path in SHIPPED if path.name == "Dockerfile"]
    assert "PYTHONSAFEPATH=1" in image.read_text()


@pytest.mark.parametrize("unsafe", ['["python", "-m", "x"]', "[python3, -c, x]", "python3.11 -m x", "/bin/python -u x"])
def test_an_unsafe_command_is_found(unsafe: str) -> None:
    assert _COMMAND.search(unsafe)
    assert not _COMMAND.search(re.sub(r"-[mcu]", "-P", unsafe, count=1))
