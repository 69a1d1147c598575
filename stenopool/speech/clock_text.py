"""Format seconds for people."""


def format_clock(seconds: float) -> str:
    """A position in a recording, rounded down: ``M:SS``, or ``H:MM:SS`` from one hour."""
    hours, minute, second = _split(int(seconds))
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def format_duration(seconds: float) -> str:
    """A duration, rounded: ``H:MM:SS``."""
    hours, minute, second = _split(round(seconds))
    return f"{hours}:{minute:02d}:{second:02d}"


def format_timestamp(seconds: float, point: str) -> str:
    """A time in subtitles: ``HH:MM:SS`` and three decimals after ``point``."""
    total, milliseconds = divmod(round(seconds * 1000), 1000)
    hours, minute, second = _split(total)
    return f"{hours:02d}:{minute:02d}:{second:02d}{point}{milliseconds:03d}"


def _split(seconds: int) -> tuple[int, int, int]:
    minutes, second = divmod(seconds, 60)
    return *divmod(minutes, 60), second
