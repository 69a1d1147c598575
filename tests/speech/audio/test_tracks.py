"""Selection of the track to transcribe: by request, by language and marks, and by speech."""

from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, RecordingError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.probe import Track, probe
from stenopool.speech.audio.tracks import rank_tracks, select_tracks
from stenopool.speech.transcript import TRACKS_LEFT_OUT, Prepared
from tests.speech.audio.media import make, tone
from tests.support.speech import needs_speech, recording_path


def tracks(*written: str) -> list[Track]:
    """Tracks written as ``language title role role``; ``-`` for none."""
    found = []
    for index, text in enumerate(written):
        language, title, *roles = [*text.split(), "-"][: max(2, len(text.split()))]
        found.append(
            Track(
                codec="unknown" if "undecodable" in roles else "aac",
                stream=index,
                sample_rate=48_000,
                channels=2,
                layout="stereo",
                start=0.0,
                duration=60.0,
                language=None if language == "-" else language,
                title=None if title == "-" else title.replace("_", " "),
                roles=tuple(roles),
            )
        )
    return found


@pytest.mark.parametrize(
    ("written", "languages", "best"),
    [
        pytest.param(["-", "-"], [], 1, id="the first"),
        pytest.param(["-", "- - default"], [], 2, id="the default, like players"),
        pytest.param(["ger - default", "eng"], ["en"], 2, id="the language before the default"),
        pytest.param(["ger - default", "en-US"], ["en"], 2, id="tag with a region"),
        pytest.param(["ger - default", "eng"], ["de", "en"], 1, id="the first language of an allow-list"),
        pytest.param(["eng - default", "ger"], ["de", "en"], 2, id="the first language of an allow-list, not default"),
        pytest.param(["ger", "und"], ["en"], 2, id="unknown before another language"),
        pytest.param(["und - default", "eng"], ["en"], 2, id="known before unknown"),
        pytest.param(["eng - comment", "eng"], ["en"], 2, id="commentary by its mark"),
        pytest.param(["eng - comment default", "eng"], [], 2, id="commentary though it is the default"),
        pytest.param(["eng Director's_Commentary", "eng"], [], 2, id="commentary by its title"),
        pytest.param(["eng - visual_impaired", "eng"], [], 2, id="description for the blind"),
        pytest.param(["eng Audio_Description", "eng"], [], 2, id="description by its title"),
        pytest.param(["eng - clean_effects", "eng"], [], 2, id="music and effects"),
        pytest.param(["zxx - default", "und"], [], 2, id="no linguistic content"),
        pytest.param(["eng - karaoke", "eng - hearing_impaired"], [], 2, id="clear dialogue is speech"),
        pytest.param(["eng - dub", "jpn - original"], [], 2, id="the original before its dubbing"),
        pytest.param(["eng - dub", "jpn - original"], ["en"], 1, id="a dubbing in the requested language"),
        pytest.param(["ger", "eng - comment"], ["en"], 2, id="a commentary before another language"),
        pytest.param(["- - default undecodable", "-"], [], 2, id="a codec that FFmpeg knows"),
    ],
)
def test_the_likeliest_track_is_chosen(written: list[str], languages: list[str], best: int) -> None:
    assert rank_tracks(tracks(*written), languages)[0].number == best


FILM = ["ger Ton default", "eng Original original", "eng Commentary comment", "- Microphone", "fr-CA Doublage"]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        (["2"], [2]),
        (["4", "1"], [4, 1]),
        (["eng"], [2]),
        (["english"], [2]),
        (["EN-us"], [2]),
        (["French"], [5]),
        (["Commentary"], [3]),
        (["microphone"], [4]),
        (["micro"], [4]),
        (["de", "mic"], [1, 4]),
        (["eng", "2"], [2]),
        (["ja"], [4]),  # the only one that may be Japanese
        (["all"], [1, 2, 3, 4, 5]),
    ],
)
def test_tracks_are_selected_by_number_language_and_title(asked: list[str], numbers: list[int]) -> None:
    found, is_choice = select_tracks(tracks(*FILM), TranscriptionOptions.model_validate({"tracks": asked}))
    assert [track.number for track in found] == numbers
    assert not is_choice


@pytest.mark.parametrize("asked", ["6", "guitar", "99999999999999999999"])
def test_a_missing_track_is_refused_and_the_existing_ones_are_named(asked: str) -> None:
    with pytest.raises(RecordingError, match=r"2 \(eng, Original, original\)") as caught:
        select_tracks(tracks(*FILM), TranscriptionOptions(tracks=(asked,)))
    assert caught.value.code == ErrorCode.TRACK_NOT_FOUND


def test_a_language_is_not_taken_for_another() -> None:
    with pytest.raises(RecordingError):
        select_tracks(tracks("ger", "fre"), TranscriptionOptions(tracks=("en",)))


def test_more_tracks_than_channels_are_refused() -> None:
    with pytest.raises(RecordingError) as caught:
        select_tracks(tracks(*["-"] * 9), TranscriptionOptions(tracks=("all",)))
    assert caught.value.code == ErrorCode.TOO_MANY_CHANNELS


def mux(out: Path, *inputs: Path, **marks: str) -> Path:
    """A file with one track per input; marks are ffmpeg's options for a track, e.g. ``metadata_0="language=ger"``."""
    words: list[str | Path] = [word for path in inputs for word in ("-i", path)]
    words += [word for n in range(len(inputs)) for word in ("-map", f"{n}:a")]
    for name, value in marks.items():
        kind, _, index = name.partition("_")
        words += [f"-{kind}:s:a:{index}" if kind == "metadata" else f"-{kind}:a:{index}", value]
    return make(out, *words)


@pytest.fixture
def speech() -> Path:
    return recording_path("en/jfk.flac")


@pytest.fixture
def other() -> Path:
    return recording_path("en/LJ001-0002.flac")


def prepared(path: Path, **options: object) -> Prepared:
    chosen = TranscriptionOptions.model_validate(options)
    return prepare_audio(path, path.with_name("prepared.flac"), chosen, ExecutionOptions())


def transcribed(found: Prepared) -> list[int]:
    return [track.number for track in found.audio.tracks if track.transcribed]


@needs_speech
@pytest.mark.parametrize("noise", ["anullsrc=r=16000", "anoisesrc=r=16000:a=0.003", "sine=r=16000:f=100"])
def test_a_track_without_speech_is_never_preferred_to_one_with_speech(noise: str, tmp_path: Path, speech: Path) -> None:
    """An empty camera microphone, a hissing one, hum; then the microphone with the speech."""
    empty = make(
        tmp_path / "empty.wav", "-f", "lavfi", "-i", f"{noise}:d=11" if "null" not in noise else noise, "-t", "11"
    )
    found = prepared(mux(tmp_path / "a.mp4", empty, speech))
    assert transcribed(found) == [2]
    assert found.flags == []  # no speech is missing
    assert [track.number for track in found.audio.tracks] == [1, 2]


@needs_speech
def test_the_track_in_the_given_language_is_chosen(tmp_path: Path, speech: Path, other: Path) -> None:
    german = recording_path("lang/fleurs-de-000.ogg")
    film = mux(tmp_path / "a.mka", german, speech, metadata_0="language=ger", metadata_1="language=eng")
    assert transcribed(prepared(film)) == [1]
    english = prepared(film, language="en")
    assert transcribed(english) == [2]
    assert english.flags == [TRACKS_LEFT_OUT]
    assert english.audio.duration == pytest.approx(11.0, abs=0.1)
    assert english.audio.tracks[0].language == "ger"


@needs_speech
def test_every_track_is_a_channel_with_its_title(tmp_path: Path, speech: Path, other: Path) -> None:
    """Of different lengths and layouts, as recorders of meetings and streams write them."""
    stereo = make(tmp_path / "stereo.wav", "-i", other, "-ac", "2")
    both = mux(tmp_path / "a.mkv", speech, stereo, metadata_0="title=Guest", metadata_1="title=Host")
    found = prepared(both, tracks=["all"])
    assert (found.channels, found.undivided, found.channel_names) == (2, False, ["Guest", "Host"])
    assert found.flags == []
    assert transcribed(found) == [1, 2]
    assert found.audio.duration == pytest.approx(11.0, abs=0.1)
    assert prepared(both, tracks=["host"]).audio.duration < 3


@needs_speech
def test_audio_description_is_never_a_fallback(tmp_path: Path, speech: Path) -> None:
    """The speech is short, but that does not make the audio description the recording."""
    short = make(tmp_path / "short.wav", "-i", speech, "-af", "atrim=0:1.5,apad=whole_dur=60")
    film = mux(tmp_path / "a.mkv", short, speech, disposition_1="visual_impaired")
    assert transcribed(prepared(film)) == [1]


def test_pictures_and_data_are_not_tracks(tmp_path: Path) -> None:
    sound = tone(tmp_path / "a.wav", 1)
    subtitles = tmp_path / "a.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    picture = ("-f", "lavfi", "-i", "color=size=16x16:d=1:r=1")
    maps = ("-map", "0", "-map", "1", "-map", "2", "-c:v", "mjpeg", "-disposition:v:0", "attached_pic")
    film = make(tmp_path / "a.mkv", *picture, "-i", subtitles, "-i", sound, *maps)
    found = probe(film)
    assert (found.stream, found.number, len(found.tracks)) == (0, 1, 1)
    assert prepared(film, tracks=["1"]).audio.tracks == []


def test_text_from_a_file_is_limited(tmp_path: Path) -> None:
    """Titles are untrusted: all of them fit into the prober's answer, without terminal control characters."""
    sound = tone(tmp_path / "a.wav", 1)
    marks = {f"metadata_{n}": f"title={'😀' * 3000}\x1b[2J" for n in range(30)}
    many = mux(tmp_path / "a.mka", *[sound] * 30, **marks)
    found = probe(many)
    assert len(found.tracks) == 30
    assert {track.title for track in found.tracks} == {"😀" * 100}
