"""Every installed package is in the lock file with its hash, has a known license, and is checked for advisories."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.version import Version
from pydantic import ValidationError
from typer.testing import CliRunner

from docs.supply_chain import (
    Package,
    app,
    bill,
    known_vulnerabilities,
    licence,
    locked,
    read_accepted,
    shipped,
    without_hash,
)
from tests.support.processes import free_port

ROOT = Path(__file__).parents[2]
FORBIDDEN = ("AGPL", "Affero", "SSPL", "Server Side Public", "Commons Clause", "Proprietary", "BUSL")


class Osv(BaseHTTPRequestHandler):
    """Knows something of one package."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        results = [{"vulns": [{"id": "OSV-1"}]} if one["package"]["name"] == "prefect" else {} for one in asked]
        body = json.dumps({"results": results}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def osv() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Osv)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_every_file_in_the_lock_has_a_hash() -> None:
    assert len(locked()) > 100
    assert without_hash(locked()) == []


def test_a_file_without_a_hash_is_found() -> None:
    planted = {"name": "planted", "source": {"registry": "r"}, "wheels": [{"url": "u", "hash": "md5:0"}]}
    assert without_hash([planted]) == ["planted: u"]


def test_all_packages_come_from_the_registry() -> None:
    """The only package from an address, a repository or a folder is our own."""
    text = (ROOT / "uv.lock").read_text(encoding="utf-8")
    assert "source = { git" not in text
    assert "source = { url" not in text
    assert {package["source"]["registry"] for package in locked()} == {"https://pypi.org/simple"}


def test_the_bill_of_materials_lists_the_installed_packages() -> None:
    document = bill()
    assert document["bomFormat"] == "CycloneDX"
    names = {package.name for package in shipped()}
    assert {"prefect", "faster-whisper", "av", "imageio-ffmpeg", "boto3"} <= names
    assert not {"pytest", "ruff", "hypothesis"} & names


def test_licences_are_known_and_allowed() -> None:
    """NVIDIA's: proprietary, free to use and to redistribute; torch's wheels require them, the base install
    does not.
    """
    found = {package.name: said for package in shipped() if (said := licence(package.name))}
    found = {name: said for name, said in found.items() if not name.startswith("nvidia-")}
    assert len(found) > 100
    assert [f"{name}: {said}" for name, said in found.items() if any(one in said for one in FORBIDDEN)] == []


def test_an_advisory_is_found(osv: str) -> None:
    packages = [Package("prefect", "3.8.8"), Package("boto3", "1.40")]
    assert known_vulnerabilities(packages, osv) == {packages[0]: ["OSV-1"]}
    done = CliRunner().invoke(app, ["audit", "--source", osv])
    assert done.exit_code == 1
    assert "OSV-1" in done.output


REASON = "Only the development server of this package is concerned, which nothing here starts."


@pytest.mark.parametrize(
    ("ids", "days", "code", "said"),
    [
        ('["OSV-1", "GHSA-1"]', 1, 0, "accepted until"),
        ('["OSV-1"]', 0, 0, "accepted until"),
        ('["OSV-1"]', -1, 1, "was accepted until"),
        ('["OSV-2"]', 30, 1, "not accepted"),
    ],
    ids=["accepted", "on its last day", "a day later", "another"],
)
def test_an_advisory_is_accepted_by_id_until_a_date(
    osv: str, tmp_path: Path, ids: str, days: int, code: int, said: str
) -> None:
    until = datetime.now(UTC).date() + timedelta(days=days)
    advisories = tmp_path / "advisories.toml"
    entry = f'[[accepted]]\npackage = "prefect"\nids = {ids}\nreason = "{REASON}"\nuntil = {until}\n'
    advisories.write_text(entry)
    done = CliRunner().invoke(app, ["audit", "--source", osv, "--advisories", str(advisories)])
    assert done.exit_code == code
    assert said in done.output
    assert ("remove it" in done.output) == ("OSV-1" not in ids)
    advisories.write_text(entry.replace("prefect", "boto3"))
    assert CliRunner().invoke(app, ["audit", "--source", osv, "--advisories", str(advisories)]).exit_code == 1


@pytest.mark.parametrize("missing", ["reason", "until", "ids"])
def test_every_accepted_advisory_has_a_reason_and_a_date(tmp_path: Path, missing: str) -> None:
    lines = {"reason": f'"{REASON}"', "until": "2027-01-01", "ids": '["OSV-1"]', "package": '"prefect"'}
    path = tmp_path / "advisories.toml"
    path.write_text("[[accepted]]\n" + "".join(f"{key} = {value}\n" for key, value in lines.items() if key != missing))
    with pytest.raises(ValidationError, match=missing):
        read_accepted(path)


def test_advisories_are_accepted_for_half_a_year_at_most() -> None:
    limit = datetime.now(UTC).date() + timedelta(days=184)
    assert [one for one in read_accepted() if one.until > limit] == []


def test_ci_checks_advisories_and_fails_on_them() -> None:
    steps = (ROOT / ".github" / "workflows" / "ci.yaml").read_text(encoding="utf-8").splitlines()
    (step,) = [step.strip() for step in steps if "docs.supply_chain" in step]
    assert step == "- run: uv run --no-sync python -m docs.supply_chain audit"


def test_torch_has_safe_restricted_loading() -> None:
    """CVE-2026-24747, fixed in 2.10: before that, `weights_only=True` protected from nothing."""
    versions = {Version(package["version"]) for package in locked() if package["name"] == "torch"}
    assert min(versions) >= Version("2.10")


def test_without_a_source_the_check_says_so_and_passes_nothing() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    done = CliRunner().invoke(app, ["audit", "--source", nobody])
    assert done.exit_code == 3
    assert "skipped: no response" in done.output
    assert CliRunner().invoke(app, ["audit", "--source", nobody, "--offline-ok"]).exit_code == 0
