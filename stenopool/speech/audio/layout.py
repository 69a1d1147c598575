"""Determine the layout of split channels: one party each, copies of each other, or a single channel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stenopool.speech.audio.crosstalk import OWN_SECONDS, WINDOW, find_crosstalk
from stenopool.speech.audio.mixing import Signals
from stenopool.speech.audio.waveform import SAMPLE_RATE
from stenopool.speech.transcript import (
    CHANNEL_BLEED,
    CHANNEL_NAMES_MISMATCH,
    DUPLICATE_CHANNELS,
    SILENT_CHANNEL,
    SINGLE_CHANNEL,
)


@dataclass(frozen=True)
class ChannelLayout:
    """The windows of each channel to mute, so that everything is transcribed once; and flags for the transcript."""

    undivided: bool = False
    """Whether there is only one channel, with all speakers, although channels=split was requested."""
    muted: Mapping[int, NDArray[np.bool_]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


def find_layout(signals: Signals, names: Sequence[str]) -> ChannelLayout:
    """Compare channels that are to be split. If all are copies of one, the others are removed from ``signals``.

    ``names``: the names given for the channels.
    """
    if signals.count == 1:
        # One name for one channel needs no flag: the channel has one speaker.
        return ChannelLayout(undivided=True, flags=(SINGLE_CHANNEL,)) if len(names) != 1 else ChannelLayout()
    silent = signals.silent
    found = find_crosstalk(signals.blocks, signals.count)
    apart = [n for n in range(signals.count) if n not in found.copies and n not in silent]
    copies = [n for n in found.copies if n not in silent]
    if copies and len(apart) == 1:
        signals.keep(*apart)
        return ChannelLayout(undivided=True, flags=(DUPLICATE_CHANNELS,))
    bled = {n: windows for n, windows in found.muted.items() if windows.sum() * WINDOW >= OWN_SECONDS * SAMPLE_RATE}
    whole = np.ones(-(-signals.frames // WINDOW), bool)
    flags = {
        DUPLICATE_CHANNELS: copies,
        CHANNEL_BLEED: bled,
        SILENT_CHANNEL: silent if apart else [],
        CHANNEL_NAMES_MISMATCH: len(names) not in (0, signals.count),
    }
    return ChannelLayout(
        muted={**bled, **dict.fromkeys(copies, whole)}, flags=tuple(flag for flag in flags if flags[flag])
    )
