"""Checkov, a scanner for unsafe configuration: clean except for a list with reasons, and it finds planted mistakes."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.terraform.tools import uvx
from tests.support.terraform.workspace import ROOT, Workspace

CONFIG = ROOT / "checkov.yaml"
CHECKOV = uvx("--from", "checkov==3.3.30", "checkov")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which(CHECKOV[0]), reason="uv, which brings checkov, is not installed"),
]


def _failed(folder: Path, *options: str) -> set[str]:
    fixed = ("--framework=terraform", "--skip-download", "--quiet", "--output=json")
    command = [*CHECKOV, f"--directory={folder}", *fixed, *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=folder)
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["summary"]["resource_count"] > 0
    assert answer["summary"]["parsing_errors"] == 0
    return {check["check_id"] for check in answer["results"]["failed_checks"]}


def test_it_finds_nothing_outside_the_list() -> None:
    assert _failed(ROOT) == set(yaml.safe_load(CONFIG.read_text())["skip-check"])


def test_every_entry_of_the_list_has_a_reason() -> None:
    lines = CONFIG.read_text().splitlines()
    entries = [i for i, line in enumerate(lines) if re.match(r"\s+- CKV", line)]
    assert entries
    assert [lines[i] for i in entries if not re.match(r"\s+# .{20}", lines[i - 1])] == []


def test_it_finds_an_unencrypted_bucket_and_database(spoilt: Workspace) -> None:
    spoilt.replace("modules/database/main.tf", "storage_encrypted     = true", "storage_encrypted     = false")
    main = spoilt.folder / "modules" / "storage" / "main.tf"
    start, _, rest = main.read_text().partition('resource "aws_s3_bucket_server_side_encryption_configuration"')
    main.write_text(start + rest[rest.index("\n}\n") + 3 :])
    found = _failed(spoilt.folder / "modules", f"--config-file={CONFIG}")
    assert {"CKV_AWS_16", "CKV_AWS_145"} <= found
