"""What is installed, compared with what this installation asks for."""

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement


def unmet(extra: str = "") -> list[str]:
    """What is wrong with the packages of the base installation, or of an extra: missing ones and wrong versions."""
    return [fault for requirement in _requirements(extra) if (fault := _fault(requirement))]


def extras() -> list[str]:
    """The names of our extras, without ``all``."""
    return [extra for extra in metadata.metadata("stenopool").get_all("Provides-Extra") or () if extra != "all"]


def _requirements(extra: str) -> Iterator[Requirement]:
    for requirement in map(Requirement, metadata.requires("stenopool") or ()):
        marker = requirement.marker
        base = marker is None or marker.evaluate({"extra": ""})
        if base != bool(extra) and (marker is None or marker.evaluate({"extra": extra})):
            yield requirement


def _fault(requirement: Requirement) -> str:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    met = requirement.specifier.contains(version, prereleases=True)
    return "" if met else f"{requirement.name} {version} is installed, {requirement.specifier} is needed"
