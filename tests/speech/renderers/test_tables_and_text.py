"""TXT, TSV, RTTM and JSON."""

import json
from pathlib import Path

import jsonschema

from stenopool.speech.renderers import render
from stenopool.speech.transcript import SpeakerTurn, Transcript
from tests.speech.renderers.samples import conversation, spoken

SCHEMA = Path(__file__).parents[3] / "docs" / "transcript.schema.json"


def test_txt_has_a_paragraph_per_speaker_change() -> None:
    transcript = conversation()
    transcript.segments.append(spoken("Well?", 5, speaker="SPEAKER_01"))
    assert render(transcript, "txt") == "SPEAKER_00: Hello there.\n\nSPEAKER_01: Hi! How are you? Well?\n"


def test_txt_without_speakers_has_no_labels() -> None:
    for blank in (" ", ""):
        segments = [spoken("One.", blank=blank), spoken("Two.", 3, blank=blank)]
        assert render(Transcript(segments=segments), "txt") == "One. Two.\n"


def test_tsv_has_whispers_columns_in_milliseconds() -> None:
    transcript = conversation()
    transcript.segments[0].words[0].word = " Hel\tlo\n"
    assert render(transcript, "tsv") == (
        "start\tend\ttext\tspeaker\n500\t1500\tHel lo there.\tSPEAKER_00\n2000\t4000\tHi! How are you?\tSPEAKER_01\n"
    )


def test_rttm_has_the_turns_in_order_and_no_blank_in_a_field() -> None:
    transcript = conversation()
    transcript.turns += [
        SpeakerTurn(start=5, end=6, speaker="Jane Doe"),
        SpeakerTurn(start=7, end=7, speaker="nobody"),
    ]
    assert render(transcript, "rttm").splitlines() == [
        "SPEAKER a_b/call_1 1 0.500 1.000 <NA> <NA> SPEAKER_00 <NA> <NA>",
        "SPEAKER a_b/call_1 1 2.000 2.125 <NA> <NA> SPEAKER_01 <NA> <NA>",
        "SPEAKER a_b/call_1 1 5.000 1.000 <NA> <NA> Jane_Doe <NA> <NA>",
    ]


def test_json_has_every_documented_key() -> None:
    document = json.loads(render(conversation(), "json"))
    assert {
        *("schema_version", "text", "language", "language_probability", "duration", "segments", "word_segments"),
        *("speakers", "turns", "channels", "flags", "untranscribed", "source", "audio", "provenance", "timings"),
    } == set(document)
    segment = document["segments"][0]
    assert {
        *("id", "start", "end", "text", "speaker", "channel", "language", "avg_logprob", "no_speech_prob"),
        *("compression_ratio", "temperature", "flags", "words"),
    } == set(segment)
    word = {"word": " Hello", "start": 0.5, "end": 1.0, "probability": 0.9, "score": 0.9, "speaker": None}
    assert segment["words"][0] == word
    assert len(document["word_segments"]) == 6


def test_json_times_have_three_decimals() -> None:
    transcript = Transcript(segments=[spoken("One two three.", pace=1 / 3)], duration=1 / 3)
    document = json.loads(render(transcript, "json"))
    assert document["duration"] == 0.333
    assert [word["end"] for word in document["word_segments"]] == [0.333, 0.667, 1.0]


def test_json_keeps_non_ascii_letters() -> None:
    assert "Grüße 你好" in render(Transcript(text="Grüße 你好"), "json")


def test_json_matches_the_published_schema() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    for transcript in (conversation(), Transcript()):
        validator.validate(json.loads(render(transcript, "json")))
    broken = json.loads(render(conversation(), "json"))
    del broken["segments"][0]["start"]
    assert not validator.is_valid(broken)
