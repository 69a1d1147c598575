"""Optional packages, which Stenopool's extras bring."""

from importlib.util import find_spec

from stenopool.errors import ErrorCode, SetupError


def require(what: str, *packages: str, extra: str = "", alternative: str = "") -> None:
    """Raise `SetupError` EXTRA_MISSING if ``what`` lacks one of its packages. Imports none of them.

    ``extra`` brings them; the base installation does if it is empty. ``alternative`` says what to do without them.
    Package names have no dot: for a dotted one `find_spec` would import the parent.
    """
    if missing := [package for package in packages if find_spec(package) is None]:
        raise missing_extra(what, ", ".join(missing), extra, alternative)


def missing_extra(what: str, needed: str, extra: str, alternative: str = "") -> SetupError:
    """The error of something that needs what an extra brings."""
    remedy = (
        f"Run `uv sync --extra {extra}` or `pip install 'stenopool[{extra}]'`" if extra else "Install Stenopool again"
    )
    return SetupError(
        ErrorCode.EXTRA_MISSING,
        f"{what} needs {needed}, which is not installed.",
        remedy=f"{remedy}, or {alternative}." if alternative else f"{remedy}.",
    )
