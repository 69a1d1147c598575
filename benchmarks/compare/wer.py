"""Word error rates, pooled, after Whisper's English normalizer: what the literature on Whisper reports."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec


def available() -> bool:
    """Whether the packages for WER are installed (extra bench)."""
    return find_spec("jiwer") is not None and find_spec("whisper") is not None


@cache
def _normalizer() -> Callable[[str], str]:
    from whisper.normalizers import EnglishTextNormalizer

    normalizer: Callable[[str], str] = EnglishTextNormalizer()
    return normalizer


def wer(pairs: Sequence[tuple[str, str]]) -> float:
    """Word error rate over all (said, heard) pairs together."""
    import jiwer

    normalize = _normalizer()
    return float(jiwer.wer([normalize(said) for said, _ in pairs], [normalize(heard) for _, heard in pairs]))
