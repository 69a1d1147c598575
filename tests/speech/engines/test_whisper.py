"""Parts of the openai-whisper engine that need no weights."""

from stenopool.options import TranscriptionOptions
from stenopool.speech.audio.vad import Region
from stenopool.speech.engines.whisper import WhisperEngine, _segment


def test_times_in_the_padding_end_with_the_chunk() -> None:
    found = {
        "start": 1.0, "end": 30.0, "text": " Hi.", "avg_logprob": -0.1, "no_speech_prob": 0.0,
        "compression_ratio": 1.0, "temperature": 0.0,
        "words": [{"word": " Hi.", "start": 1.0, "end": 6.5, "probability": 0.9}],
    }  # fmt: skip
    segment = _segment(found, Region(20.0, 25.0), "en")
    assert (segment.start, segment.end) == (21.0, 25.0)
    assert (segment.words[0].start, segment.words[0].end) == (21.0, 25.0)


def test_a_chunk_of_uncertain_language_follows_its_neighbours() -> None:
    cut = [Region(0, 9), Region(10, 19), Region(20, 29), Region(200, 209)]
    opinions = [
        ({"de": 0.9, "en": 0.1}, 9.0),
        ({"nl": 0.4, "de": 0.3, "en": 0.3}, 9.0),
        ({"de": 0.8, "nl": 0.2}, 9.0),
        ({"en": 0.9, "de": 0.1}, 9.0),
    ]
    options = TranscriptionOptions(engine="whisper", language="per-segment")
    spoken = [WhisperEngine._spoken_in(i, cut, opinions, options) for i in range(4)]
    assert spoken == ["de", "de", "de", "en"]
    allowed = TranscriptionOptions(engine="whisper", language="per-segment", languages=("en", "nl"))
    assert WhisperEngine._spoken_in(0, cut, opinions, allowed) == "en"
