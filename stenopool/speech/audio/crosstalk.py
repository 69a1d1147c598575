"""Find channels that repeat each other: copies of the same sound, and one party's voice in the other's channel.

Two channels are compared in two ways. Their cross-correlation, whitened (GCC-PHAT) and summed over the recording, has a
peak if one contains the other's sound, however quiet, delayed or inverted; independent sounds have no peak. The ratio
of their levels, in windows of 0.1 s, distinguishes the cases: it is constant in copies, and changes with the speaker in
a call. For the choice of thresholds, see benchmarks/channels.py.

Source: Knapp and Carter, "The generalized correlation method for estimation of time delay", IEEE TASSP 1976.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stenopool.speech.audio.waveform import SAMPLE_RATE

Block = NDArray[np.int16]
Blocks = Callable[[], Iterable[Block]]
Energies = NDArray[np.float64]

WINDOW = SAMPLE_RATE // 10
FRAME = 32_768  # 2 s, compared at once
MAX_LAG = SAMPLE_RATE  # a second: delay of separate recorders or a network
_BAND = (200, 3_400)  # Hz: telephone speech, without hum

PEAK = 18.0  # height of the cross-correlation's peak over its spread, above which channels share a sound
APART_DB = 9.0  # minimum difference between the level ratios of two speakers; less means that channels are copies
COPY_DB = 12.0  # a quieter copy is bleeding, because its own party may have said nothing
MARGIN_DB = 6.0  # sound that exceeds the expected level of the other's sound by more is the channel's own
ALIKE = 0.5  # a window's squared correlation with the other channel, above which ALIKE_DB is added to the margin
ALIKE_DB = 3.0
UNLIKE = 0.6  # share of the usual correlation, below which the window has more than the other's sound
OWN_SECONDS = 0.5  # seconds of own sound that make a channel more than a copy
_PEAK_WIDTH = SAMPLE_RATE // 100  # samples; a room's first echoes belong to the peak
_ACTIVE_DB = 25.0  # sound this far below a channel's loud parts does not count
_LOUDEST = 95  # percentile of windows that defines a channel's loud parts
_LEAST_WINDOWS = 5  # minimum for an estimate
_SHORTEST = 10  # minimum number of windows of a recording to compare
_ROOM = 10.0  # a room's echoes have up to this many times the energy of the direct sound
_CLEAR = 10.0  # a correlation counts if the sound has this many times the energy of the noise
_ECHO = 4  # number of windows in which echoes are audible
_FULL = 0.25  # share of a channel's energy in another, from which that one is a mix, and not bleeding
_MIX_SHARE = 0.3  # share of a mix's windows in which several of the others are heard
_MIX = 2.0  # times the energy that the others explain, below which nothing else is heard
_HOLD = 2  # number of windows to keep around a channel's own sound
_SAME_LEVEL = 0.8  # of two copies, the first is kept if it has at least this share of the second's energy


@dataclass
class Crosstalk:
    """Sounds that channels repeat from each other."""

    copies: dict[int, int] = field(default_factory=dict)
    """For each copy, the earlier or louder channel that it repeats."""
    muted: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    """For each channel, its windows of 0.1 s in which only others are heard."""
    explained: dict[int, dict[int, Energies]] = field(default_factory=dict, compare=False)
    """For each channel, the energy that others contribute to it at nearly their own level, as in a mix."""


def find_crosstalk(blocks: Blocks, channels: int) -> Crosstalk:
    """Compare the channels of a recording. ``blocks()`` reads it from the beginning: int16, shape (frames, channels).

    Every block except the last has whole windows. The recording is read once, and again if channels share a sound.
    Memory: a block, and 24 bytes for each window of two channels that share a sound.
    """
    found = Crosstalk()
    if channels < 2:
        return found
    # Lags are in samples. Positive means that the second channel of the pair has the sound later.
    shared = {pair: lags for pair, sums in sum_spectra(blocks(), channels).items() if (lags := _peaks(sums))}
    if not shared:
        return found
    energy, pairs = _measure(blocks(), channels, shared)
    if len(energy) < _SHORTEST:
        return found
    # Copies first, because their common sound must not be muted in both.
    for pair in pairs:
        if not found.copies.keys() & {pair.early, pair.late}:
            _find_copy(found, energy, pair)
    for pair in pairs:
        if not found.copies.keys() & {pair.early, pair.late}:
            _find_bleeding(found, energy, pair)
    for channel, sources in found.explained.items():
        own = _is_active(energy[:, channel]) & ~found.muted[channel]
        # A mix of others: the remaining windows are those in which several of them speak.
        if len(sources) > 1 and own.sum() < _MIX_SHARE * _is_active(energy[:, channel]).sum():
            found.muted[channel] |= energy[:, channel] < _MIX * np.sum([*sources.values()], axis=0)
    found.muted = {n: muted for n, muted in found.muted.items() if muted.any()}
    return found


@dataclass(frozen=True)
class Pair:
    """Two channels, the lag at which they share a sound, and energies in the windows of the later channel."""

    early: int
    late: int
    lag: int  # samples
    first: Energies  # early channel, delayed by ``lag`` samples
    second: Energies  # late channel
    product: Energies  # product of both

    @cached_property
    def ratios(self) -> Energies:
        """Level of the second channel relative to the first, in dB."""
        return 10 * np.log10((_smooth(self.second) + 1.0) / (_smooth(self.first) + 1.0))

    @cached_property
    def likeness(self) -> Energies:
        """The squared correlation of the two, 0 to 1."""
        return _smooth(self.product) ** 2 / np.maximum(_smooth(self.first) * _smooth(self.second), 1.0)

    def find_spoken(self, energy: Energies) -> NDArray[np.bool_]:
        """The windows in which one of the two has sound, and no third channel is much louder."""
        active: NDArray[np.bool_] = _is_active(self.first) | _is_active(self.second)
        # Above the threshold because little is louder, but only the noise of two microphones: its levels mean nothing.
        active &= _is_clear(self.first) | _is_clear(self.second) | (self.likeness >= ALIKE)
        active[: self.lag // WINDOW + 2] = False  # before the start of the delayed early channel
        others = np.delete(energy, [self.early, self.late], axis=1).max(axis=1, initial=0.0)
        active &= np.maximum(self.first, self.second) >= others / 2
        return active


def _find_copy(found: Crosstalk, energy: Energies, pair: Pair) -> None:
    """Add the quieter of two channels to the copies, if their level ratio does not depend on the speaker."""
    spoken = pair.find_spoken(energy)
    if spoken.sum() < _LEAST_WINDOWS or _split_levels(pair.ratios[spoken]) is not None:
        return
    kept, repeating, own, _ = _compare_levels(pair, spoken)
    own_seconds = (spoken & own).sum() * WINDOW / SAMPLE_RATE
    if own_seconds < OWN_SECONDS and abs(float(np.median(pair.ratios[spoken]))) <= COPY_DB:
        found.copies[repeating] = kept


def _compare_levels(pair: Pair, spoken: NDArray[np.bool_]) -> tuple[int, int, NDArray[np.bool_], NDArray[np.bool_]]:
    """The louder channel, the quieter one, and the latter's windows with its own sound, and with only the other's."""
    if pair.second[spoken].sum() * _SAME_LEVEL > pair.first[spoken].sum():
        return pair.late, pair.early, *_find_own(pair.second, pair.first, pair, spoken, is_copy=True)[:2]
    return pair.early, pair.late, *_find_own(pair.first, pair.second, pair, spoken, is_copy=True)[:2]


def _find_bleeding(found: Crosstalk, energy: Energies, pair: Pair) -> None:
    """Mute the sound that each of two channels repeats from the other. Their level ratio shows who speaks."""
    spoken = pair.find_spoken(energy)
    if spoken.sum() < _LEAST_WINDOWS:
        return
    middle = _split_levels(pair.ratios[spoken])
    if middle is None:  # one of them has only the other's sound
        _, repeating, _, repeats = _compare_levels(pair, spoken)
        _mute(found, pair, repeating, repeats, 0.0)
        return
    below, above = pair.ratios < middle, pair.ratios > middle
    _, repeats, ratio = _find_own(pair.first, pair.second, pair, spoken & below)
    _mute(found, pair, pair.late, repeats & below, ratio)
    _, repeats, ratio = _find_own(pair.second, pair.first, pair, spoken & above)
    _mute(found, pair, pair.early, repeats & above, ratio)


def _split_levels(ratios: NDArray[np.float64]) -> float | None:
    """The level ratio, in dB, that separates the two speakers. None if there is only one group of ratios."""
    if not ratios.size:
        return None
    low, high = float(ratios.min()), float(ratios.max())
    for _ in range(20):  # k-means
        above = ratios > (low + high) / 2
        if min(above.sum(), (~above).sum()) < _LEAST_WINDOWS:  # a click or a gap
            ratios = ratios[above] if above.sum() > len(ratios) / 2 else ratios[~above]
            if not 0 < above.sum() < len(above):
                return None
            low, high = float(ratios.min()), float(ratios.max())
        else:
            low, high = float(ratios[~above].mean()), float(ratios[above].mean())
    return (low + high) / 2 if high - low >= APART_DB else None


def _mute(found: Crosstalk, pair: Pair, channel: int, repeats: NDArray[np.bool_], ratio: float) -> None:
    """Mute the windows of a channel that repeat the other, and record the other's energy if that is at full level."""
    energy = ratio * (pair.second if channel == pair.early else pair.first)
    if channel == pair.early:  # convert to its windows
        ahead = round(pair.lag / WINDOW)
        repeats, energy = np.pad(repeats[ahead:], (0, ahead)), np.pad(energy[ahead:], (0, ahead))
    found.muted[channel] = found.muted.get(channel, False) | repeats
    if ratio >= _FULL and repeats.any():
        found.explained.setdefault(channel, {})[pair.early + pair.late - channel] = energy


def _find_own(
    source: Energies, target: Energies, pair: Pair, certain: NDArray[np.bool_], *, is_copy: bool = False
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], float]:
    """Find the windows in which the target has its own sound, and those in which it has only the source's.

    Uses the energies of both channels and their product. The source is heard in the ``certain`` windows. Windows in
    neither result are silent. Returns also the share of the source's energy that is in the target.
    """
    certain = certain & (source > np.percentile(source, _LOUDEST) / 10)
    if certain.sum() < _LEAST_WINDOWS:
        return np.ones(len(target), bool), np.zeros(len(target), bool), 0.0
    # The share of the source's energy in the target, without other sounds. A room's echoes add to it.
    gain = (pair.product[certain].sum() / source[certain].sum()) ** 2
    ratio = float(np.median(target[certain] / source[certain]))
    ratio, noise = ratio if is_copy else min(ratio, _ROOM * gain), float(np.percentile(target, 10))
    echoing = np.max([np.roll(source, n) for n in range(-1, _ECHO)], axis=0)
    expected = (ratio * echoing + noise) * 10 ** (MARGIN_DB / 10)
    own = target > expected * np.where(pair.likeness >= ALIKE, 10 ** (ALIKE_DB / 10), 1.0)
    usual = float(np.median(pair.likeness[certain]))
    if usual >= ALIKE and not is_copy:
        own |= (pair.likeness < UNLIKE * usual) & (ratio * _smooth(source) > _CLEAR * noise)  # both speak
    own = _smooth(own, 5) >= 0.5  # a syllable, not a click
    own = _smooth(own, 2 * _HOLD + 1) > 1e-9
    return own, ~own & (_smooth(_is_active(source), 2 * _ECHO + 1) > 1e-9), ratio


def _frames(blocks: Iterable[Block]) -> Iterator[NDArray[np.float32]]:
    """Frames of `FRAME` samples, shape (channels, samples); the last one is padded with zeros."""
    rest: NDArray[np.int16] | None = None
    for block in blocks:
        rest = block if rest is None else np.concatenate([rest, block])
        while len(rest) >= FRAME:
            yield np.ascontiguousarray(rest[:FRAME].T, np.float32)
            rest = rest[FRAME:]
    if rest is not None and len(rest):
        last = np.zeros((rest.shape[1], FRAME), np.float32)
        # Tapered at its own length, because the end of a hum in both channels would be a click in both.
        last[:, : len(rest)] = (rest.T - rest.mean(axis=0)[:, None]) * np.hanning(len(rest))
        yield last


def sum_spectra(blocks: Iterable[Block], channels: int) -> dict[tuple[int, int], NDArray[np.complex128]]:
    """The whitened cross-spectra of each pair of channels, for frames in which the first or the second is louder."""
    first, last = (round(edge * FRAME / SAMPLE_RATE) for edge in _BAND)
    taper = np.hanning(FRAME).astype(np.float32)  # prevents hum from leaking into the band
    sums = {pair: np.zeros((2, FRAME // 2 + 1), np.complex128) for pair in combinations(range(channels), 2)}
    for frame in _frames(blocks):
        spectra = np.fft.rfft((frame - frame.mean(axis=1, keepdims=True)) * taper)[:, first : last + 1]
        power = (np.abs(spectra) ** 2).sum(axis=1)
        for (a, b), both in sums.items():
            if power[a] and power[b]:
                cross = np.conj(spectra[a]) * spectra[b]
                both[int(power[b] > power[a]), first : last + 1] += cross / np.maximum(np.abs(cross), 1e-9)
    return sums


def _peaks(sums: NDArray[np.complex128]) -> list[int]:
    """Lags of the two highest peaks of frames with the first channel louder, of those with the second, and of all."""
    lags: list[int] = []
    for spectrum in (sums[0], sums[1], sums.sum(axis=0)):
        lags += [lag for height, lag in peaks(spectrum) if height >= PEAK]
    return sorted(set(lags), key=lags.index)


def peaks(spectrum: NDArray[np.complex128]) -> Iterator[tuple[float, int]]:
    """The two highest points of a correlation: height relative to the spread, and lag."""
    correlation = np.fft.irfft(spectrum)
    near = np.abs(np.concatenate([correlation[-MAX_LAG:], correlation[: MAX_LAG + 1]]))
    spread = float(np.sqrt(np.mean(near**2)))
    for _ in range(2 if spread else 0):
        at = int(near.argmax())
        yield float(near[at]) / spread, at - MAX_LAG
        near[max(0, at - _PEAK_WIDTH) : at + _PEAK_WIDTH + 1] = 0.0


def _measure(
    blocks: Iterable[Block], channels: int, shared: dict[tuple[int, int], list[int]]
) -> tuple[Energies, list[Pair]]:
    """The energy of each window and channel in the band, shape (windows, channels); and the pairs, at each lag."""
    ordered = [
        (a, b, lag) if lag >= 0 else (b, a, -lag) for (a, b), lags in shared.items() for lag in lags
    ]  # early, late, lag
    energies: list[Energies] = []
    parts: list[list[Energies]] = [[] for _ in ordered]
    before = np.zeros((MAX_LAG, channels), np.int16)
    for block in blocks:
        spectra = _spectra(block)
        energies.append((np.abs(spectra) ** 2).sum(axis=2).T)
        joined = np.concatenate([before, block])
        for (early, late, lag), found in zip(ordered, parts, strict=True):
            [shifted] = _spectra(joined[MAX_LAG - lag : len(joined) - lag, [early]])
            product = (np.conj(shifted) * spectra[late]).real.sum(axis=1)
            found.append(np.stack([(np.abs(shifted) ** 2).sum(axis=1), energies[-1][:, late], product]))
        before = joined[-MAX_LAG:]
    return np.concatenate(energies), [
        Pair(*names, *np.concatenate(found, axis=1)) for names, found in zip(ordered, parts, strict=True)
    ]


def _spectra(block: Block) -> NDArray[np.complex64]:
    """The spectrum of each window, within the band: shape (channels, windows, frequencies)."""
    windows = -(-len(block) // WINDOW)
    whole = np.zeros((windows * WINDOW, block.shape[1]), np.float32)
    whole[: len(block)] = block
    taper = np.hanning(WINDOW).astype(np.float32)
    spectra = np.fft.rfft(whole.T.reshape(block.shape[1], windows, WINDOW) * taper)
    first, last = (round(edge * WINDOW / SAMPLE_RATE) for edge in _BAND)
    return spectra[:, :, first : last + 1].astype(np.complex64)


def _is_active(energy: NDArray[np.float64]) -> NDArray[np.bool_]:
    return energy > max(np.percentile(energy, _LOUDEST) * 10 ** (-_ACTIVE_DB / 10), 1.0)


def _is_clear(energy: Energies) -> NDArray[np.bool_]:
    """The windows that are louder than a channel's noise by the margin."""
    return energy > np.percentile(energy, 10) * 10 ** (MARGIN_DB / 10)


def _smooth(values: NDArray[Any], windows: int = 3) -> NDArray[np.float64]:
    return np.convolve(values, np.ones(windows) / windows, "same")
