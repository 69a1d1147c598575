"""Determine the format of uncompressed samples: the one in which they are sound, not noise.

It runs in the prober, and imports nothing from Stenopool.
"""

import itertools
import math
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Read = Callable[[int, int], bytes]
"""Read bytes: position, number of bytes. Returns fewer at the end of the file."""

RawFormat = Literal[
    "u8",
    "s8",
    "s16le",
    "s16be",
    "s24le",
    "s24be",
    "s32le",
    "s32be",
    "f32le",
    "f32be",
    "f64le",
    "f64be",
    "mulaw",
    "alaw",
]
"""ffmpeg's names of formats of samples without headers."""

RAW_FORMATS = get_args(RawFormat)
_WIDTHS = {name: int(re.sub(r"\D", "", name) or 8) // 8 for name in RAW_FORMATS}  # bytes of a sample
_TINY, _HUGE = 1e-12, 1e10  # range of float samples, including those with the values of 32-bit integers
_BYTES = ("u8", "s8", "mulaw", "alaw")
ROUGH = 0.4  # `Samples.roughness` is nearly always less if samples are read in the right format


class SampleFormat(NamedTuple):
    """The format of uncompressed samples."""

    name: str  # ffmpeg's name of the raw format
    sample_rate: int
    channels: int


def block_size(form: SampleFormat) -> int:
    """Bytes of one sample of all channels."""
    return form.channels * _WIDTHS[form.name]


def forms_of(block: int, like: SampleFormat) -> list[SampleFormat]:
    """Formats in which a sample of all channels has ``block`` bytes, after ``like``, which may have another size."""
    forms = (like._replace(name=name, channels=block // width) for name, width in _WIDTHS.items() if block % width == 0)
    return [like, *(form for form in forms if form != like and form.channels in (1, 2, like.channels))]


@dataclass(frozen=True)
class Samples:
    """Samples of unknown format."""

    read: Read
    start: int
    end: int
    big: bool = False

    def roughness(self, form: SampleFormat) -> float:
        """Difference between successive samples: about 1 for noise and for sound read in a wrong format, else 0.1.

        Measured per channel, so that a wrong number of channels also gives a high value.
        """
        if form.name[0] == "f" and not self._are_floats(form):
            return 1.0
        differences, powers = 0.0, 0.0
        for values in self._stretches(form):
            for channel in range(form.channels):
                signal = values[channel :: form.channels]
                if len(signal) < 2:
                    continue
                mean = math.fsum(signal) / len(signal)
                powers += math.fsum((value - mean) ** 2 for value in signal)
                differences += math.fsum((b - a) ** 2 for a, b in itertools.pairwise(signal)) / 2
        if not powers or not math.isfinite(powers) or not math.isfinite(differences):
            return 1.0 if powers else 0.0
        return differences / powers

    def best(self, forms: list[SampleFormat]) -> SampleFormat:
        """The format in which the samples are sound; the first one if there are several."""
        rough = {form: self.roughness(form) for form in forms}
        smoothest = min(rough.values())
        good = [form for form in forms if rough[form] <= 1.5 * smoothest + 0.02]
        doubled = [form for form in good if self._looks_doubled(form)]
        return next((form for form in good if form not in doubled), good[0])

    def check(self, form: SampleFormat) -> tuple[SampleFormat, bool]:
        """Return ``form``, which agrees with the header, or the right format; and whether the samples contradict it."""
        if form.name[:3] == "s32" and self._are_floats(floats := form._replace(name="f32" + form.name[3:])):
            return floats, True
        declared = self.roughness(form)
        others: tuple[str, ...] = ()
        if declared > ROUGH:
            others = RAW_FORMATS
        elif form.name in _BYTES:  # read in another of these formats, samples are distorted but not rough
            others = _BYTES
        rough = {other: self.roughness(other) for name in others if (other := form._replace(name=name)) != form}
        if rough and rough[smoothest := min(rough, key=rough.__getitem__)] < declared / 3:
            return smoothest, True
        # The samples do not show which of the two is right: two microphones may record the same with a delay.
        return form, self._looks_doubled(form) or self._looks_interleaved(form)

    def _are_floats(self, form: SampleFormat) -> bool:
        """Whether the values are in the range of samples. Other data gives floats with any exponent."""
        values = [abs(value) for stretch in self._stretches(form) for value in stretch if value]
        return bool(values) and sum(_TINY < value < _HUGE for value in values) > 0.9 * len(values)

    def _looks_doubled(self, form: SampleFormat) -> bool:
        """Whether two channels are really one, whose samples were distributed alternately."""
        if form.channels != 2:
            return False
        same = far = next_one = 0.0
        for values in self._stretches(form):
            left, right = values[::2], values[1::2]
            same += math.fsum((a - b) ** 2 for a, b in zip(left, right, strict=False))
            next_one += math.fsum((b - a) ** 2 for a, b in zip(left[1:], right, strict=False))
            far += math.fsum((b - a) ** 2 for a, b in itertools.pairwise(left))
        return 0.6 * next_one < same < 1.6 * next_one and same < 0.5 * far

    def _looks_interleaved(self, form: SampleFormat) -> bool:
        """Whether one channel is really two with alternating samples: every second step differs from the others."""
        if form.channels != 1:
            return False
        odd = even = 0.0
        for values in self._stretches(form._replace(channels=2)):
            odd += math.fsum((b - a) ** 2 for a, b in zip(values[::2], values[1::2], strict=False))
            even += math.fsum((b - a) ** 2 for a, b in zip(values[1::2], values[2::2], strict=False))
        return max(odd, even) > 3 * min(odd, even)

    def _stretches(self, form: SampleFormat) -> Iterator[list[float]]:
        """Eight stretches of samples, spread over the file."""
        block = block_size(form)
        length = max(block, 1024 - 1024 % block)
        frames = max(0, self.end - self.start) // block
        step = max(length // block, frames // 8)
        for first in range(0, frames, step):
            values = _decode(self.read(self.start + first * block, min(length, (frames - first) * block)), form.name)
            yield values[: len(values) - len(values) % form.channels]


def _decode(data: bytes, name: str) -> list[float]:
    """Convert to samples between -1 and 1; floats keep their values."""
    if name in ("mulaw", "alaw"):
        return [_LAWS[name][byte] for byte in data]
    bits, order = int(re.sub(r"\D", "", name)), ">" if name.endswith("be") else "<"
    count = len(data) // (bits // 8)
    if bits == 24:
        triples = [data[at : at + 3] for at in range(0, 3 * count, 3)]
        data, bits = b"".join(one + b"\0" if order == ">" else b"\0" + one for one in triples), 32
    kind = {"u8": "B", "s8": "b"}.get(name) or ({32: "f", 64: "d"} if name[0] == "f" else {16: "h", 32: "i"})[bits]
    values = struct.unpack(f"{order}{count}{kind}", data[: count * bits // 8])
    if name[0] == "f":
        return [value if abs(value) < _HUGE else _HUGE for value in values]  # also NaN
    full = float(2 ** (bits - 1))
    return [(value - 128) / full if name == "u8" else value / full for value in values]


def _laws() -> dict[str, list[float]]:
    """Compute the tables of G.711 from its formulas."""
    tables: dict[str, list[float]] = {"mulaw": [], "alaw": []}
    for byte in range(256):
        flipped = ~byte & 0xFF
        size = (((flipped & 15) << 3) + 132) << ((flipped >> 4) & 7)
        tables["mulaw"].append((132 - size if flipped & 128 else size - 132) / 32768)
        even = byte ^ 0x55
        exponent, mantissa = (even >> 4) & 7, even & 15
        size = (mantissa << 4) + 8 if exponent == 0 else ((mantissa << 4) + 264) << (exponent - 1)
        tables["alaw"].append((size if even & 128 else -size) / 32768)
    return tables


_LAWS = _laws()
