"""Characters that make names look alike, move a terminal's cursor, or are not text."""

import re
import unicodedata

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters (Cc), line separators and paragraph separators."""

INVISIBLE = re.compile(
    # Format characters (Cf): text direction, zero-width marks, tags. Not ZWNJ and ZWJ (U+200C, U+200D), which Persian,
    # Indic scripts and emoji need, nor the signs that precede Arabic and Kaithi numbers.
    r"[\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
    # Surrogates and noncharacters.
    r"\ud800-\udfff\ufdd0-\ufdef" + "".join(rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(17)) + "]"
)
"""Invisible characters that a name must not contain."""


def find_unsafe(name: str) -> str | None:
    """The first character that is not allowed in a new name: those above, and the signs before numbers."""
    for character in name:
        if CONTROLS.match(character) or INVISIBLE.match(character):
            return character
        if unicodedata.category(character) == "Cf" and character not in "\u200c\u200d":
            return character
    return None
