"""Choose which of a file's audio tracks to transcribe: the requested ones, or the one that most likely has the speech.

A request names a track by its number (from 1, as in players and mixers), its language or its title.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stenopool.errors import ErrorCode, RecordingError
from stenopool.languages import find_language
from stenopool.options import ALL_TRACKS, TranscriptionOptions
from stenopool.speech.audio.decode import MAX_SPLIT
from stenopool.speech.audio.mixing import Mode, Signals, Spool
from stenopool.speech.audio.probe import Track
from stenopool.speech.audio.vad import speech_seconds
from stenopool.speech.audio.waveform import SAMPLE_RATE
from stenopool.speech.transcript import TRACKS_LEFT_OUT

# libav's dispositions of tracks that accompany the main audio, or are a part of it.
_ASIDE = frozenset(
    {"comment", "visual_impaired", "descriptions", "karaoke", "lyrics", "clean_effects", "dependent", "non_diegetic"}
)
# Many writers mark such a track by its title alone.
_ASIDE_TITLE = re.compile(r"\b(comment(ary|aries|aire|aires)|kommentar|(audio)?descri\w+|music only|karaoke)", re.I)
_NO_LANGUAGE = "zxx"  # ISO 639-2: no linguistic content

LEAST_SPEECH = 0.5  # seconds; less is a click or a tone that was mistaken for speech
ENOUGH_SPEECH, ENOUGH_SHARE = 5.0, 0.1  # seconds, or share of the track; with this much, no other track is tried


def is_aside(track: Track) -> bool:
    """Whether the track is a commentary, a description for the blind, music or effects."""
    return (
        not _ASIDE.isdisjoint(track.roles)
        or bool(_ASIDE_TITLE.search(track.title or ""))
        or (track.language or "").lower() == _NO_LANGUAGE
    )


def rank_tracks(tracks: Sequence[Track], languages: Sequence[str] = ()) -> list[Track]:
    """Sort the tracks that can be decoded, the most likely first.

    Criteria, in this order: the language is one of ``languages`` or unknown; main audio; the language is known to be
    one of ``languages``; the default track; not a dubbing; the file's order.
    """

    def rank(track: Track) -> tuple[int | bool, ...]:
        code = find_language(track.language or "")
        known = bool(languages) and code is not None
        return (
            known and code not in languages,
            is_aside(track),
            languages.index(code) if known and code in languages else len(languages),
            "default" not in track.roles,
            "dub" in track.roles,
            track.stream,
        )

    return sorted((track for track in tracks if track.decodable), key=rank)


def select_tracks(tracks: Sequence[Track], options: TranscriptionOptions) -> tuple[list[Track], bool]:
    """Return the tracks to transcribe; or, with True, candidates of which one is to be chosen, the most likely first.

    Raises `RecordingError`: TRACK_NOT_FOUND if a requested track is missing, TOO_MANY_CHANNELS for more than 8.
    """
    if options.tracks == (ALL_TRACKS,):
        found = [track for track in tracks if track.decodable]
        if len(found) > MAX_SPLIT:
            message = f"The file has {len(found)} audio tracks; at most {MAX_SPLIT} can be transcribed as channels."
            raise RecordingError(ErrorCode.TOO_MANY_CHANNELS, message, remedy="Choose tracks with --tracks.")
        return found, False
    wanted = options.languages if options.language in ("auto", "per-segment") else (options.language,)
    ranked = rank_tracks(tracks, wanted)
    if not options.tracks:
        return ranked, True
    named = {item: _find(item, ranked) for item in options.tracks}
    missing = [item for item, track in named.items() if track is None]
    if missing:
        there = "; ".join(describe_track(track) for track in tracks)
        raise RecordingError(
            ErrorCode.TRACK_NOT_FOUND, f"The file has no audio track {', '.join(missing)}. Its tracks are {there}."
        )
    return list(dict.fromkeys(track for track in named.values() if track)), False


def _find(item: str, ranked: Sequence[Track]) -> Track | None:
    """The most likely track with this number, title or language; a language also matches tracks of unknown language."""
    if re.fullmatch(r"\d+", item):
        return next((track for track in ranked if track.number == int(item)), None)
    title = item.casefold()
    named = [track for track in ranked if (track.title or "").casefold() == title]
    code = find_language(item)
    spoken = [track for track in ranked if code and find_language(track.language or "") == code]
    unmarked = [track for track in ranked if code and (track.language or "und").lower() == "und"]
    within = [track for track in ranked if title in (track.title or "").casefold()]
    return next(iter([*named, *spoken, *(within if code is None else []), *unmarked]), None)


def name_tracks(tracks: Sequence[Track]) -> list[str]:
    """Names for the channels made from tracks: their titles, if every track has one and all are different."""
    titles = [track.title or "" for track in tracks]
    return titles if all(titles) and len(set(titles)) == len(titles) else []


def describe_track(track: Track) -> str:
    """Describe a track for a message: `2 (ger, Director's commentary)`."""
    words = [*filter(None, (track.language, track.title)), *(role for role in track.roles if role != "default")]
    words += [] if track.decodable else ["in a codec that FFmpeg cannot decode"]
    return f"{track.number} ({', '.join(words)})" if words else str(track.number)


@dataclass(frozen=True)
class DecodedTrack:
    """A track and its samples."""

    track: Track
    spool: Spool
    gain_db: float
    flags: list[str]


def decode_tracks(
    tracks: Sequence[Track], options: TranscriptionOptions, decode: Callable[[Track, Mode], DecodedTrack]
) -> tuple[list[DecodedTrack], list[str]]:
    """Decode the tracks to transcribe. If there are several, each is mixed down to one channel.

    If one track is to be chosen, tracks without speech and tracks that cannot be decoded are skipped. Returns the
    tracks, and flags for the transcript. Raises `RecordingError` as `select_tracks` and ``decode`` do.
    """
    selected, is_choice = select_tracks(tracks, options)
    if not is_choice:
        mode: Mode = options.channels if len(selected) == 1 else "mix"
        decoded = [decode(track, mode) for track in selected]
        unknown = options.tracks == (ALL_TRACKS,) and len(selected) < len(tracks)
        return decoded, [*_flags(decoded), *([TRACKS_LEFT_OUT] if unknown else [])]
    if len(selected) == 1:
        quiet: list[Track] = []
        chosen = decode(selected[0], options.channels)
    else:
        chosen, quiet = _decode_talk(selected, lambda track: decode(track, options.channels), options.channels)
    left_out = [track for track in tracks if track not in (chosen.track, *quiet) and not is_aside(track)]
    return [chosen], [*_flags([chosen]), *([TRACKS_LEFT_OUT] if left_out else [])]


def _flags(decoded: Sequence[DecodedTrack]) -> list[str]:
    return list(dict.fromkeys(flag for each in decoded for flag in each.flags))


def _decode_talk(
    ranked: Sequence[Track], decode: Callable[[Track], DecodedTrack], mode: Mode
) -> tuple[DecodedTrack, list[Track]]:
    """Return the first track with enough speech, else the one with the most; and the tracks without speech."""
    best: tuple[float, DecodedTrack] | None = None
    quiet: list[Track] = []
    refusal: RecordingError | None = None
    for track in ranked:
        if best and best[0] > 0 and is_aside(track):
            break  # the main audio has little speech, but the remaining tracks are not main audio
        try:
            decoded = decode(track)
        except RecordingError as error:
            refusal = refusal or error
            continue
        seconds = speech_seconds(block[:, 0] for block in Signals([decoded.spool], mode).normalized())
        if seconds < LEAST_SPEECH:
            quiet.append(track)
            seconds = 0.0
        if best is None or seconds > best[0]:
            best = seconds, decoded
        if seconds >= ENOUGH_SPEECH or seconds >= ENOUGH_SHARE * decoded.spool.frames / SAMPLE_RATE:
            break
    if best is None:
        assert refusal is not None  # noqa: S101 (for mypy: there is a track)
        raise refusal
    return best[1], [track for track in quiet if track != best[1].track]
