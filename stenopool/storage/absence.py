"""Explains why an address does not exist: it is an object, or similar names exist."""

import re
from collections.abc import Callable, Collection
from difflib import get_close_matches

from stenopool.errors import ObjectNotFound

_SHOWN = 5

ListNames = Callable[[str, str], Collection[str]]


def find_absence(
    path: str, root: str, is_object: Callable[[str], bool], list_names: ListNames
) -> ObjectNotFound | None:
    """Explain why nothing is listed below ``root`` + ``path``, which may end in "/"; None if that exists but is empty.

    ``is_object``: whether a path is an object or a file.
    ``list_names``: names in a folder ("" or a path that ends in "/") that start with a text. Names of folders end in
    "/". Empty if the folder does not exist.
    """
    folder = path.removesuffix("/")
    parents = folder.split("/")
    name = parents.pop()
    above = "".join(f"{one}/" for one in parents)
    if is_object(folder):
        return ObjectNotFound(
            f"{root}{folder} is an object, not a prefix or folder.",
            remedy=f"Use {(root + above).rstrip('/')} as the source, with --only '{name}'.",
        )
    if list_names(path, "") or (path.endswith("/") and f"{name}/" in list_names(above, name)):
        return None
    return _explain(path, root, list_names)


def _explain(path: str, root: str, list_names: ListNames) -> ObjectNotFound:
    what = f"Nothing exists at {root}{path}."
    plain = re.sub("/+", "/", path).lstrip("/")
    if plain != path and list_names(plain.removesuffix("/") + "/", ""):
        return ObjectNotFound(what, remedy=f"Did you mean {root}{plain}, with one slash?")
    parts = path.removesuffix("/").split("/")
    while parts:  # the innermost folder that exists
        name = parts.pop()
        above = "".join(f"{part}/" for part in parts)
        # Names with the same first letter first, because not all names may be listed.
        names = [
            one
            for one in dict.fromkeys((*(list_names(above, name[:1]) if name else ()), *list_names(above, "")))
            if not one.startswith(".")
        ]
        if names:
            return ObjectNotFound(what, remedy=_suggest(name, f"{root}{above}", names))
    return ObjectNotFound(what)


def _suggest(name: str, where: str, names: Collection[str]) -> str:
    by_lower = {one.rstrip("/").lower(): one for one in names}
    wanted = name.lower()
    near = [one for lower, one in by_lower.items() if wanted and lower.startswith(wanted)]
    near += [by_lower[lower] for lower in get_close_matches(wanted, by_lower, _SHOWN, 0.6)]
    if near:
        found = " or ".join(f"{where}{one.rstrip('/')}" for one in list(dict.fromkeys(near))[:2])
        return f"Did you mean {found}?"
    shown = ", ".join(sorted(names)[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return f"Check the spelling. {where} contains: {shown}"
