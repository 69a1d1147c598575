"""Third-party packages that Stenopool ships, from uv.lock: bill of materials, licences, known vulnerabilities.

    python -m docs.supply_chain sbom > sbom.json      CycloneDX 1.5, of the base install and all extras
    python -m docs.supply_chain licences              a line for each package: name, version, licence
    python -m docs.supply_chain audit                 queries OSV; exit 0: none known, 1: some known, 3: OSV unreachable

Only `audit` sends data: names and versions of packages. If OSV is unreachable, `audit` reports that and exits with 3;
with ``--offline-ok`` it exits with 0, for pipelines without internet access. docs/advisories.toml lists accepted
advisories, with the reason and a date by which to check them again.
"""

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import httpx
import typer
from pydantic import BaseModel, ConfigDict, Field

ROOT = Path(__file__).parents[1]
OSV = "https://api.osv.dev"
ADVISORIES = Path(__file__).with_name("advisories.toml")
_BATCH = 500

app = typer.Typer(help=__doc__, no_args_is_help=True)


class Package(NamedTuple):
    """One package of the lock, with its name on PyPI."""

    name: str
    version: str


class Accepted(BaseModel):
    """An advisory that is accepted until a date; ``ids`` are all its names in OSV."""

    model_config = ConfigDict(extra="forbid")

    package: str
    ids: Annotated[set[str], Field(min_length=1)]
    reason: Annotated[str, Field(min_length=40)]
    until: date


def read_accepted(path: Path = ADVISORIES) -> list[Accepted]:
    """The accepted advisories. Raises pydantic's `ValidationError` for an entry without a reason or a date."""
    return [Accepted.model_validate(one) for one in tomllib.loads(path.read_text(encoding="utf-8")).get("accepted", [])]


def locked() -> list[dict[str, Any]]:
    """The packages of the lock, without Stenopool."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    return [package for package in lock["package"] if "registry" in package["source"]]


def without_hash(packages: list[dict[str, Any]]) -> list[str]:
    """Files of the lock without a SHA-256 hash."""
    files = [
        (package["name"], file)
        for package in packages
        for file in [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
    ]
    return [f"{name}: {file.get('url')}" for name, file in files if not file.get("hash", "").startswith("sha256:")]


def bill() -> dict[str, Any]:
    """CycloneDX, for the packages that users install: without development dependencies."""
    command = [
        "uv",
        "export",
        "--quiet",
        "--locked",
        "--no-dev",
        "--all-extras",
        "--preview",
        "--format",
        "cyclonedx1.5",
    ]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def shipped() -> list[Package]:
    """The packages of the bill."""
    components = bill()["components"]
    return sorted({Package(one["name"], one["version"]) for one in components if "version" in one and "purl" in one})


def licence(name: str) -> str | None:
    """The licence of an installed package, in one line: SPDX if it has that, otherwise its own text."""
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    if expression := metadata.get("License-Expression"):
        return str(expression)
    named = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")
    ]
    own = (metadata.get("License") or "").strip().splitlines()
    return " / ".join(named) or (own[0][:80] if own else "unknown")


def known_vulnerabilities(packages: list[Package], source: str = OSV) -> dict[Package, list[str]]:
    """The ids of known vulnerabilities, from OSV. Raises `httpx.HTTPError` if there is no response."""
    found: dict[Package, list[str]] = {}
    with httpx.Client(base_url=source, timeout=20) as client:
        for first in range(0, len(packages), _BATCH):
            some = packages[first : first + _BATCH]
            queries = [{"package": {"name": one.name, "ecosystem": "PyPI"}, "version": one.version} for one in some]
            answer = client.post("/v1/querybatch", json={"queries": queries}).raise_for_status().json()
            for package, result in zip(some, answer["results"], strict=True):
                if ids := [one["id"] for one in (result or {}).get("vulns", [])]:
                    found[package] = ids
    return found


@app.command()
def sbom() -> None:
    """The bill of materials, as CycloneDX 1.5."""
    print(json.dumps(bill(), indent=1))


@app.command()
def licences() -> None:
    """Name, version and licence of each package."""
    for package in shipped():
        print(f"{package.name} {package.version}: {licence(package.name) or 'not installed here'}")


@app.command()
def audit(
    source: Annotated[str, typer.Option(help="URL of the OSV API.")] = OSV,
    offline_ok: Annotated[bool, typer.Option(help="Exit with 0 if the API is unreachable.")] = False,
    advisories: Annotated[Path, typer.Option(help="File of accepted advisories.")] = ADVISORIES,
) -> None:
    """Known vulnerabilities of the packages, except those that are accepted today."""
    accepted, packages, today = read_accepted(advisories), shipped(), datetime.now(UTC).date()
    try:
        found = known_vulnerabilities(packages, source)
    except httpx.HTTPError as error:
        print(f"skipped: no response from {source} ({type(error).__name__})", file=sys.stderr)
        raise typer.Exit(0 if offline_ok else 3) from None
    open_ones = 0
    for package, ids in found.items():
        for id in ids:
            match [one for one in accepted if one.package == package.name and id in one.ids]:
                case [one, *_] if today <= one.until:
                    note = f"accepted until {one.until}: {one.reason}"
                case [one, *_]:
                    note, open_ones = f"was accepted until {one.until} only", open_ones + 1
                case _:
                    note, open_ones = "not accepted: update the package, or see docs/advisories.toml", open_ones + 1
            print(f"{package.name} {package.version}: {id}, {note}")
    known = {(package.name, id) for package, ids in found.items() for id in ids}
    for one in accepted:
        if not any((one.package, id) in known for id in one.ids):
            print(f"no longer known for {one.package}: {', '.join(sorted(one.ids))}; remove it", file=sys.stderr)
    print(
        f"{len(packages)} packages, {len(found)} known vulnerabilities, {open_ones} of them not accepted",
        file=sys.stderr,
    )
    raise typer.Exit(1 if open_ones else 0)


if __name__ == "__main__":
    app()
