"""Optional packages, installed by Stenopool's extras."""

from importlib.util import find_spec

from stenopool.errors import ErrorCode, SetupError


def require(what: str, *packages: str, extra: str = "", alternative: str = "") -> None:
    """Raise `SetupError` EXTRA_MISSING if one of the packages for ``what`` is missing. Imports none of them.

    ``extra``: the extra that installs them; empty for the base installation.
    ``alternative``: what to do without them.
    ``packages``: names without a dot; for a dotted name, `find_spec` would import the parent.
    """
    if missing := [package for package in packages if find_spec(package) is None]:
        raise missing_extra(what, ", ".join(missing), extra, alternative)


def missing_extra(what: str, needed: str, extra: str, alternative: str = "") -> SetupError:
    """The error for a feature whose extra is not installed."""
    remedy = (
        f"Run `uv sync --extra {extra}` or `pip install 'stenopool[{extra}]'`" if extra else "Install Stenopool again"
    )
    return SetupError(
        ErrorCode.EXTRA_MISSING,
        f"{what} needs {needed}, which is not installed.",
        remedy=f"{remedy}, or {alternative}." if alternative else f"{remedy}.",
    )
