"""Recordings with one party per channel: channels are transcribed separately, then merged in order of time."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from stenopool.languages import have_blank_between
from stenopool.speech.transcript import NO_SPEECH, Channel, Segment, Transcript


def merge_channels(channels: Sequence[Transcript], names: Sequence[str], *, as_speakers: bool) -> Transcript:
    """One transcript of all channels, segments by start time, each with its channel.

    With ``as_speakers`` a channel's name is the speaker of its segments and words. The language is the one spoken
    longest.
    """
    segments = [
        _of_channel(segment, index, names[index] if as_speakers else None)
        for index, transcript in enumerate(channels)
        for segment in transcript.segments
    ]
    segments.sort(key=lambda segment: (segment.start, segment.channel or 0))
    seconds: defaultdict[str | None, float] = defaultdict(float)
    for transcript in channels:
        seconds[transcript.language] += sum(segment.end - segment.start for segment in transcript.segments)
    language = max(seconds, key=lambda code: seconds[code]) if seconds else None
    flags = dict.fromkeys(flag for transcript in channels for flag in transcript.flags if flag != NO_SPEECH)
    spoken = {segment.channel for segment in segments}
    return Transcript(
        text=_join([(s.text.strip(), s.language or channels[s.channel or 0].language) for s in segments]),
        language=language,
        language_probability=max(
            (t.language_probability or 0.0 for t in channels if t.language == language), default=None
        ),
        duration=max((transcript.duration for transcript in channels), default=0.0),
        segments=[segment.model_copy(update={"id": number}) for number, segment in enumerate(segments)],
        speakers=[names[index] for index in range(len(channels)) if index in spoken] if as_speakers else [],
        channels=[
            Channel(index=n, name=names[n], language=t.language, language_probability=t.language_probability)
            for n, t in enumerate(channels)
        ],
        flags=[*flags] if segments else [*flags, NO_SPEECH],
    )


def _join(texts: Sequence[tuple[str, str | None]]) -> str:
    """(text, language) pairs as one text."""
    pairs = pairwise([("", None), *texts])
    return "".join(" " * have_blank_between(before, language) + text for (_, before), (text, language) in pairs).strip()


def channel_name(channel: int, names: Sequence[str] = ()) -> str:
    """The name of a channel, counted from 0: the one given, else ``CHANNEL_0``, ``CHANNEL_1``, ..."""
    return names[channel] if channel < len(names) else f"CHANNEL_{channel}"


def _of_channel(segment: Segment, index: int, speaker: str | None) -> Segment:
    words = [word.model_copy(update={"speaker": speaker}) for word in segment.words]
    return segment.model_copy(update={"channel": index, "speaker": speaker, "words": words})
