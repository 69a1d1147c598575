"""No code of ours runs what it reads: held for every module, and each rule shown to find a planted mistake."""

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
    "@flow(result_serializer='compressed/pickle')\ndef run(): ...": "pickle",
}
MODULES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_our_code_keeps_the_rules() -> None:
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
    ],
)
def test_what_is_fine_is_let_pass(fine: str) -> None:
    assert list(findings(fine)) == []
