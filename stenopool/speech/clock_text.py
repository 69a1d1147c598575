"""Seconds as people read them."""


def format_clock(seconds: float) -> str:
    """A place in a recording: ``M:SS``, or ``H:MM:SS`` from an hour on; a second that has begun does not count."""
    hours, minute, second = _split(int(seconds))
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def format_duration(seconds: float) -> str:
    """How long something takes: ``H:MM:SS``, rounded."""
    hours, minute, second = _split(round(seconds))
    return f"{hours}:{minute:02d}:{second:02d}"


def format_timestamp(seconds: float, point: str) -> str:
    """A subtitle's time: ``HH:MM:SS`` and three decimals after ``point``."""
    total, milliseconds = divmod(round(seconds * 1000), 1000)
    hours, minute, second = _split(total)
    return f"{hours:02d}:{minute:02d}:{second:02d}{point}{milliseconds:03d}"


def _split(seconds: int) -> tuple[int, int, int]:
    minutes, second = divmod(seconds, 60)
    return *divmod(minutes, 60), second
