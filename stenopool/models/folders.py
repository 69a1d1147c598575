"""Your own folder of models, ``STENOPOOL_MODELS__PATH``: ``<name>`` or ``<kind>/<name>``, used where they lie."""

from collections.abc import Iterator
from pathlib import Path

from stenopool.models.kinds import KINDS, ModelKind, is_complete


class FolderSource:
    """Models in sub-folders of one folder."""

    origin = "path"

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser()

    def known(self) -> Iterator[tuple[str, ModelKind, bool]]:
        for kind in KINDS:
            folders = [*self.root.glob("*"), *(self.root / kind).glob("*")]
            yield from ((folder.name, kind, True) for folder in folders if self._usable(folder, kind))

    def get(self, name: str, kind: ModelKind) -> Path | None:
        candidates = [self.root / kind / name, self.root / name]
        if kind == "openai":
            candidates += [candidate.with_name(f"{candidate.name}.pt") for candidate in candidates]
        return next((candidate for candidate in candidates if self._usable(candidate, kind)), None)

    @staticmethod
    def _usable(path: Path, kind: ModelKind) -> bool:
        return is_complete(path, kind) or (kind == "openai" and path.suffix == ".pt" and path.is_file())
