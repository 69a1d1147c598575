"""Word times by wav2vec2, with a tiny model of random weights: the times have no meaning, only their form is tested."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stenopool.settings import get_settings
from stenopool.speech.audio.waveform import SAMPLE_RATE, Waveform
from stenopool.speech.engines import alignment
from stenopool.speech.transcript import ALIGNMENT_UNAVAILABLE, TRUNCATED, Segment, Transcript, Word

transformers = pytest.importorskip("transformers", reason="extra whisperx is not installed")
pytest.importorskip("whisperx.alignment", reason="extra whisperx is not installed")


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with a wav2vec2 for English: letters, no digits."""
    import torch

    root = tmp_path_factory.mktemp("models")
    folder = root / "wav2vec2" / "en"
    folder.mkdir(parents=True)
    symbols = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    (folder / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    extractor = transformers.Wav2Vec2FeatureExtractor()
    transformers.Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(symbols), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        conv_dim=(32,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    return root


@pytest.fixture(autouse=True)
def _only_these_models(english: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("STENOPOOL_MODELS__PATH", str(english))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    get_settings.cache_clear()
    alignment._model.cache_clear()
    yield
    alignment._model.cache_clear()


@pytest.fixture
def waveform(tmp_path: Path) -> Waveform:
    """Ten seconds of noise: random weights recognize nothing in speech either."""
    samples = np.random.default_rng(0).normal(scale=0.1, size=10 * SAMPLE_RATE)
    soundfile.write(tmp_path / "a.flac", samples, SAMPLE_RATE)
    return Waveform(tmp_path / "a.flac")


def _segment(text: str, start: float, end: float, language: str | None = "en") -> Segment:
    words = [Word(word=f" {word}", start=start, end=end, probability=0.5) for word in text.split()]
    return Segment(start=start, end=end, text=f" {text}", language=language, words=words, avg_logprob=-0.2)


def _transcript(*segments: Segment) -> Transcript:
    text = "".join(segment.text for segment in segments).strip()
    return Transcript(text=text, language="en", duration=10.0, segments=list(segments))


def test_words_get_new_times_inside_their_segment(waveform: Waveform) -> None:
    given = _transcript(_segment("And so, my fellow Americans,", 1.0, 4.0), _segment("ask not.", 5.0, 7.0))
    aligned = alignment.align(given, waveform, "en", "cpu")
    assert [word.word for word in aligned.word_segments] == [
        " And",
        " so,",
        " my",
        " fellow",
        " Americans,",
        " ask",
        " not.",
    ]
    assert (aligned.text, [s.text for s in aligned.segments]) == (given.text, [s.text for s in given.segments])
    assert aligned.flags == []
    for before, after in zip(given.segments, aligned.segments, strict=True):
        times = [time for word in after.words for time in (word.start, word.end)]
        assert all(time is not None for time in times)
        assert times == sorted(times), "words do not overlap"  # type: ignore[type-var]
        assert before.start - 0.21 <= after.start == times[0]
        assert times[-1] == after.end <= before.end + 0.21
        assert after.avg_logprob == before.avg_logprob
        assert [word.start for word in after.words] != [word.start for word in before.words]
        assert all(word.probability is not None and 0 <= word.probability <= 1 for word in after.words)


def test_alignment_is_reproducible(waveform: Waveform) -> None:
    given = _transcript(_segment("And so, my fellow Americans,", 1.0, 4.0))
    assert alignment.align(given, waveform, "en", "cpu") == alignment.align(given, waveform, "en", "cpu")


@pytest.mark.parametrize("text", ["1, 2, 3", "It costs 15 € — or 20.", "日本語", "...", "C'est déjà l'été"])
def test_words_with_unknown_letters_are_kept(text: str, waveform: Waveform) -> None:
    aligned = alignment.align(_transcript(_segment(text, 1.0, 4.0)), waveform, "en", "cpu")
    assert [word.word for word in aligned.word_segments] == [f" {word}" for word in text.split()]
    assert all(word.start is None or 0.8 <= word.start <= 4.2 for word in aligned.word_segments)


def test_too_many_letters_keep_their_times(waveform: Waveform) -> None:
    given = _transcript(_segment("far too many words for so little time " * 5, 1.0, 1.2))
    assert alignment.align(given, waveform, "en", "cpu").segments == given.segments


def test_a_language_without_a_model_keeps_its_times_and_is_flagged(waveform: Waveform) -> None:
    given = _transcript(_segment("Guten Tag", 1.0, 2.0, "de"), _segment("good day", 3.0, 5.0, "en"))
    given.flags.append(TRUNCATED)
    aligned = alignment.align(given, waveform, "en", "cpu")
    assert aligned.flags == [TRUNCATED, ALIGNMENT_UNAVAILABLE]
    assert aligned.segments[0] == given.segments[0]
    assert aligned.segments[1].words[0].end != given.segments[1].words[0].end


def test_a_segment_of_unknown_language_gets_the_recordings_language(waveform: Waveform) -> None:
    given = _transcript(_segment("good day", 3.0, 5.0, None))
    assert alignment.align(given, waveform, "en", "cpu").flags == []
    assert alignment.align(given, waveform, "de", "cpu").flags == [ALIGNMENT_UNAVAILABLE]
    assert alignment.align(given, waveform, None, "cpu").flags == [ALIGNMENT_UNAVAILABLE]


def test_words_at_the_end_stay_inside_the_recording(waveform: Waveform) -> None:
    aligned = alignment.align(_transcript(_segment("good day", 9.8, 10.0)), waveform, "en", "cpu")
    assert all(word.end is not None and word.end <= 10.0 for word in aligned.word_segments)


def test_an_empty_transcript_needs_no_model(waveform: Waveform) -> None:
    assert alignment.align(Transcript(duration=10.0), waveform, None, "cpu") == Transcript(duration=10.0)
