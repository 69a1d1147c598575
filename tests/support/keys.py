"""Hypothesis strategies for typical keys of people and machines."""

from hypothesis import strategies as st

# Around "/" (0x2F), around "0" (0x30), around "%" and "!"; composed and decomposed letters; outside the BMP.
_CHARACTERS = "/aab01.-+ !%#'\"~zA\n\x01\x7f" + "é" + "e\u0301" + "日\uffff🎙"

_PART = st.text(alphabet=[one for one in _CHARACTERS if one != "/"], min_size=1, max_size=6).filter(
    lambda part: part not in (".", "..")
)


def _are_files(keys: list[str]) -> list[str]:
    """Leave out keys that are a folder of another key, because a disk cannot store both."""
    return [key for key in keys if not any(other.startswith(f"{key}/") for other in keys)]


any_key = st.text(alphabet=_CHARACTERS, min_size=1, max_size=12).filter(
    lambda key: {".", ".."}.isdisjoint(key.split("/"))
)
file_key = st.lists(_PART, min_size=1, max_size=4).map("/".join)
any_keys = st.lists(any_key, unique=True, max_size=30)
file_keys = st.lists(file_key, unique=True, max_size=20).map(_are_files)
