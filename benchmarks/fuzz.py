"""Fuzzing: generated and mutated inputs for all code that reads untrusted data.

    python -m benchmarks.fuzz                       all targets, more than 100,000 inputs, some minutes
    python -m benchmarks.fuzz decode --inputs 500   one of them
    python -m benchmarks.fuzz --report fuzz.json    with the figures

An input passes if it is accepted, or refused with one of Stenopool's errors. Anything else is a crash, and so is speech
that is lost without a flag (``headers``). Exceeding the target's time limit is a hang. Such inputs are stored (``--keep
FOLDER``) for tests/hostile/cases, which every test run repeats. ``--seed`` makes a run repeatable.
"""

import asyncio
import json
import logging
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from pydantic import ValidationError

from stenopool.errors import ErrorCode, Failure, StenopoolError

Make = Callable[[random.Random], bytes]
Try = Callable[[bytes], object]

# Typical problems for parsers: limits of integers, ends of strings, magic bytes of formats.
_TOKENS = [
    *(
        b"",
        b"\0",
        b"\xff",
        b"\xff" * 4,
        b"\xff" * 8,
        b"\x80\0\0\0",
        b"\x7f\xff\xff\xff",
        b"\0\0\0\1",
        b"\n",
        b"\r\n\r\n",
    ),
    *(
        b"RIFF",
        b"data",
        b"fmt ",
        b"LIST",
        b"fLaC",
        b"OggS",
        b"ID3\4\0\x10",
        b"moov",
        b"trak",
        b"stsz",
        b"\x1aE\xdf\xa3",
    ),
    *(
        b"../",
        b"/",
        b"//",
        b"%2e",
        b"!",
        b"%",
        b'"',
        b"\\",
        b"{",
        b"[",
        b"null",
        b"1e999",
        b"-1",
        b"NaN",
        b"\xed\xa0\x80",
    ),
    *(b"-->", b"<script>", b"&", b"\xe2\x80\xa8", b"\xe2\x80\xae", b"#EXTM3U\n", b"ffconcat version 1.0\n", b"file:"),
]


class Target(NamedTuple):
    """A fuzz target: how to make and try inputs, the default number of inputs, and the time limit of one in seconds."""

    make: Make
    attempt: Try
    inputs: int
    limit: float


class Result(NamedTuple):
    """The results of a target."""

    inputs: int
    seconds: float
    slowest: float
    outcomes: dict[str, int]
    crashes: list[tuple[str, bytes]]
    hangs: list[bytes]


def mutated(chance: random.Random, data: bytes, most: int = 8) -> bytes:
    """``data`` with flipped bits, inserted bytes, numbers and magic bytes, and pieces duplicated, moved and cut off."""
    out = bytearray(data)
    for _ in range(chance.randint(1, most)):
        # Headers decide most.
        at = chance.randrange(min(len(out), 512) if chance.random() < 0.6 else len(out)) if out else 0
        match chance.randrange(8):
            case 0 if out:
                out[at] ^= 1 << chance.randrange(8)
            case 1 if out:
                out[at] = chance.randrange(256)
            case 2:
                token = chance.choice(_TOKENS)
                out[at : at + len(token)] = token
            case 3:
                out[at:at] = chance.choice(_TOKENS)
            case 4:
                number = chance.choice([0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, chance.randrange(2**32)])
                out[at : at + 4] = struct.pack(chance.choice("<>") + "I", number)
            case 5:
                length = chance.randint(1, 64)
                out[at:at] = out[at : at + length] * chance.randint(1, 4)
            case 6:
                del out[at : at + chance.randint(1, 256)]
            case 7 if chance.random() < 0.3:
                del out[at:]
    return bytes(out)


def fuzz(target: Target, inputs: int, seed: int) -> Result:
    """Try this many inputs."""
    chance, outcomes, slowest = random.Random(seed), Counter[str](), 0.0
    crashes: list[tuple[str, bytes]] = []
    hangs: list[bytes] = []
    first = time.monotonic()
    for _ in range(inputs):
        data = target.make(chance)
        started = time.monotonic()
        try:
            target.attempt(data)
            outcomes["taken"] += 1
        except StenopoolError as error:
            outcomes[error.code] += 1
        except Exception as error:
            outcomes["CRASH"] += 1
            crashes.append((f"{type(error).__name__}: {error}", data))
        slowest = max(slowest, time.monotonic() - started)
        if time.monotonic() - started > target.limit:
            hangs.append(data)
    return Result(inputs, time.monotonic() - first, slowest, dict(outcomes.most_common()), crashes, hangs)


# Recordings


def recordings(folder: Path) -> list[bytes]:
    """A fifth of a second of sound in common containers and codecs."""
    import subprocess

    import imageio_ffmpeg

    forms = {
        "wav": ["-c:a", "pcm_s16le"], "u.wav": ["-c:a", "pcm_mulaw"], "g.wav": ["-c:a", "adpcm_ms"], "flac": [],
        "mp3": [],
        "opus": ["-c:a", "libopus"], "ogg": ["-c:a", "libvorbis"], "m4a": ["-c:a", "aac"], "mov": ["-c:a", "alac"],
        "mka": ["-c:a", "flac"], "webm": ["-c:a", "libopus"], "ts": ["-c:a", "mp2"], "aac": ["-c:a", "aac"],
        "aiff": [], "au": [], "caf": [], "wma": ["-c:a", "wmav2"], "ac3": ["-c:a", "ac3"],
        "amr": ["-c:a", "libopencore_amrnb", "-ar", "8000"],
        "wv": [], "tta": [], "voc": [], "w64": [], "avi": ["-c:a", "mp3"], "flv": ["-c:a", "mp3", "-ar", "44100"],
        "nut": ["-c:a", "flac"],
    }  # fmt: skip
    made = []
    for extension, codec in forms.items():
        path = folder / f"seed.{extension}"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin", "-f", "lavfi"]
        subprocess.run([*command, "-i", "sine=d=0.2:r=16000", *codec, f"file:{path}"], check=True)
        made.append(path.read_bytes())
        path.unlink()
    return made


def probe_target(folder: Path, seeds: list[bytes]) -> Target:
    """Headers, read by the prober."""
    from stenopool.speech.audio.probe import probe

    path = folder / "probed"

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        probe(path)

    return Target(lambda chance: mutated(chance, chance.choice(seeds)), attempt, 16_000, 35.0)


def decode_target(folder: Path, seeds: list[bytes]) -> Target:
    """The whole preparation of a recording."""
    from stenopool.options import ExecutionOptions, TranscriptionOptions
    from stenopool.speech.audio.preparation import prepare_audio

    path, modes = folder / "decoded", ("mix", "split")

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        options = TranscriptionOptions(channels=modes[len(data) % 2])
        prepare_audio(path, folder / "out.flac", options, ExecutionOptions(max_duration=7200))
        (folder / "out.flac").unlink()

    # Few changes each: an input without headers does not reach the decoder.
    return Target(lambda chance: mutated(chance, chance.choice(seeds), most=3), attempt, 4_000, 160.0)


def headers_target(folder: Path, _: list[bytes]) -> Target:
    """Speech under wrong headers is not lost without a flag or a code. The first byte of an input selects its form."""
    from benchmarks.lying_headers import Judge, changed, seeds

    originals = seeds(folder)
    judge = Judge(folder, originals)

    def make(chance: random.Random) -> bytes:
        number = chance.randrange(len(originals))
        return bytes([number]) + changed(chance, originals[number][1], originals[number][0])

    return Target(make, lambda data: judge.check(data[0], data[1:]), 1_000, 160.0)


# Names


def _key(chance: random.Random) -> bytes:
    tokens = ["..", ".", "/", "//", "a", "é", "e\u0301", "\n", "\0", "\x1b", "\u202e", "🎙", "%", "!", " ", ".receipts/"]
    tokens += ["0" * 32, ".json", ".wav", "x" * 100, "x" * 300, "\ud800", "\uffff", "~", "-", "transcript.json"]
    return "".join(chance.choice(tokens) for _ in range(chance.randint(1, 12))).encode("utf-8", "surrogatepass")


def keys_target(folder: Path, _: list[bytes]) -> Target:
    """Convert a key to its outputs, receipts and file, and back."""
    from stenopool.options import FORMATS
    from stenopool.pipeline.receipts import output_key, parse_receipt_key, receipt_key
    from stenopool.storage.local import LocalStore

    store = LocalStore(folder / "store")
    root = (folder / "store").resolve()

    def attempt(data: bytes) -> None:
        key = data.decode("utf-8", "surrogatepass")
        parse_receipt_key(key)
        for status in ("done", "quarantined"):
            name = parse_receipt_key(receipt_key(key, "0" * 32, status))
            if name is None or name.key != key:
                raise AssertionError(f"{key!r} does not come back from its receipt: {name}")
        for format in FORMATS:
            path = store._path(output_key(key, format))
            if not Path(path).is_relative_to(root) or ".." in path.parts:
                raise AssertionError(f"{key!r} leads out of the folder: {path}")

    return Target(_key, attempt, 40_000, 1.0)


# Documents


def _json(chance: random.Random, value: Any) -> Any:
    """A document with some values replaced, removed or duplicated."""
    odd = [None, True, -1, 0, 1e308, 2**70, "", "x" * 999, "\0", "\ud800", [], {}, [[]] * 3, {"a": 1}, "NaN", "-->"]
    if chance.random() < 0.08:
        return chance.choice(odd)
    if isinstance(value, dict):
        changed = {key: _json(chance, one) for key, one in value.items() if chance.random() > 0.02}
        return changed if chance.random() > 0.05 else changed | {chance.choice(["", "x", "status"]): chance.choice(odd)}
    if isinstance(value, list):
        return [_json(chance, one) for one in value for _ in range(chance.choice([0, 1, 1, 1, 1, 1, 1, 2]))]
    return value


def _document(chance: random.Random, example: Any) -> bytes:
    text = json.dumps(_json(chance, example)).encode()
    return mutated(chance, text, 3) if chance.random() < 0.3 else text


def receipts_target(folder: Path, _: list[bytes]) -> Target:
    """Receipts as read from the destination, by name and by content."""
    from stenopool.pipeline import receipts
    from stenopool.pipeline.receipts import Receipt, receipt_key
    from stenopool.storage.local import LocalStore

    store = LocalStore(folder / "receipts")
    failure = Failure(code=ErrorCode.NOT_AUDIO, message="m", remedy="r", stage="prepare")
    examples = [
        Receipt(
            key="a/b.wav", fingerprint="0" * 32, status="done", formats=("json", "srt"), outputs=("a",), duration=1.0
        ),
        Receipt(key="a/b.wav", fingerprint="0" * 32, status="quarantined", failure=failure, attempts=3),
    ]
    documents = [json.loads(one.model_dump_json()) for one in examples]
    place = receipt_key("a/b.wav", "0" * 32)
    name = receipts.parse_receipt_key(place)
    assert name is not None

    def attempt(data: bytes) -> None:
        store.root.joinpath(place).parent.mkdir(parents=True, exist_ok=True)
        store.root.joinpath(place).write_bytes(data)
        receipts.read(store, name)
        receipts.parse_receipt_key(data[:300].decode(errors="replace"))

    return Target(lambda chance: _document(chance, chance.choice(documents)), attempt, 15_000, 1.0)


def _said(chance: random.Random) -> bytes:
    """A transcript as JSON, with texts that have a meaning in some format, and impossible times."""
    texts = [token.decode(errors="replace") for token in _TOKENS] + [
        "Hello there.",
        " the",
        "你好。",
        "\x1b[2J",
        "\t=1+1",
    ]

    def text() -> str:
        return "".join(chance.choice(texts) for _ in range(chance.randint(0, 4)))

    def moment() -> float:
        return chance.choice([0.0, 1.5, 59.9996, 3599.9999, 1e6, chance.uniform(0, 100)])

    def speaker() -> str | None:
        return chance.choice([None, "SPEAKER_00", text()])

    def word() -> dict[str, Any]:
        times = {"start": moment(), "end": moment()} if chance.random() > 0.2 else {}
        return {"word": text(), "probability": chance.choice([None, 0.5]), "speaker": speaker(), **times}

    def segment() -> dict[str, Any]:
        words = [word() for _ in range(chance.randint(0, 5))]
        language = chance.choice([None, "en", "zh", "ar", "xx"])
        start = moment()
        return {"start": start, "end": start + chance.choice([0, 1.0]), "text": text(), "words": words,
                "speaker": speaker(), "language": language, "flags": [text()]}  # fmt: skip

    turn = {"start": moment(), "end": moment(), "speaker": text()}
    source = {"uri": text(), "key": text(), "etag": "e", "size": 1}
    segments = [segment() for _ in range(chance.randint(0, 3))]
    whole = {
        "text": text(),
        "duration": moment(),
        "segments": segments,
        "turns": [turn],
        "speakers": [text()],
        "source": source,
    }
    return json.dumps(whole).encode()


def renderers_target(_folder: Path, _: list[bytes]) -> Target:
    """Render transcripts in every format."""
    from stenopool.options import FORMATS
    from stenopool.speech.renderers import render
    from stenopool.speech.transcript import Transcript

    def attempt(data: bytes) -> None:
        try:
            transcript = Transcript.model_validate_json(data)
        except ValidationError:
            return
        for format in FORMATS:
            text = render(transcript, format)
            text.encode()
            if format == "html" and text.count("<script") > 1:
                raise AssertionError("another user's script")
            if format == "vtt" and text.count(" --> ") != text.count("-->"):
                raise AssertionError("an arrow inside a cue")

    return Target(_said, attempt, 15_000, 2.0)


# Requests


def _form(chance: random.Random) -> bytes:
    parts = [
        b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\x10\0\0\0WAVEfmt ' + bytes(40),
        b'Content-Disposition: form-data; name="model"\r\n\r\nbase',
        b'Content-Disposition: form-data; name="file"; filename="../../b"\r\nContent-Type: audio/wav\r\n\r\nfLaC',
        b'Content-Disposition: form-data; name*=utf-8\'\'%ff; filename*=x\r\n\r\n',
    ]  # fmt: skip
    body = b"".join(b"--B\r\n" + chance.choice(parts) + b"\r\n" for _ in range(chance.randint(1, 4))) + b"--B--\r\n"
    return mutated(chance, body, 4) if chance.random() < 0.8 else body


def api_target(_folder: Path, _: list[bytes]) -> Target:
    """Ids, API keys, first bytes and forms, as the API reads them."""
    from fastapi import Request

    from stenopool.api import ids
    from stenopool.api.keys import Keys, digest_of
    from stenopool.api.problems import Problem
    from stenopool.api.uploads import UploadWriter, receive_form
    from stenopool.speech.audio.sniffing import find_refusal

    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # logs every broken form
    keys = Keys([])
    types = [
        b"multipart/form-data; boundary=B",
        b'multipart/form-data; boundary="B"',
        b"multipart/form-data; boundary=\xff",
        b"",
    ]

    async def form(data: bytes) -> None:
        pieces = [data[at : at + 97] for at in range(0, len(data), 97)] or [b""]
        messages = iter({"type": "http.request", "body": one, "more_body": one is not pieces[-1]} for one in pieces)

        async def receive() -> Any:
            return next(messages, {"type": "http.disconnect"})

        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", types[len(data) % 4])]}
        async with receive_form(Request(scope, receive), lambda name: UploadWriter(None, name), ("options",), 4096):
            pass

    def attempt(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for read in (
            lambda: ids.decode(text[:200]),
            lambda: ids.check(ids.decode(ids.encode(data[:80].decode(errors="replace")))),
            lambda: keys.holder(text),
            lambda: digest_of(text),
            lambda: find_refusal(data),
            lambda: asyncio.run(form(data)),
        ):
            with suppress(Problem):
                read()

    return Target(_form, attempt, 15_000, 2.0)


TARGETS: dict[str, Callable[[Path, list[bytes]], Target]] = {
    "probe": probe_target,
    "decode": decode_target,
    "headers": headers_target,
    "keys": keys_target,
    "receipts": receipts_target,
    "renderers": renderers_target,
    "api": api_target,
}


def targets(names: list[str], folder: Path) -> Iterator[tuple[str, Target]]:
    """The targets, initialized; seeds are created only if needed."""
    seeds = recordings(folder) if {"probe", "decode"} & set(names) else []
    for name in names:
        yield name, TARGETS[name](folder, seeds)


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(TARGETS)}; all by default.")] = None,
    inputs: Annotated[int | None, typer.Option(help="Number of inputs per target, instead of its default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the random inputs.")] = 1,
    report: Annotated[Path | None, typer.Option(help="File for the figures, as JSON; added to.")] = None,
    keep: Annotated[Path, typer.Option(help="Folder for inputs that crashed or hung.")] = Path("fuzz-found"),
) -> None:
    """Fuzz, print the figures, and exit with 1 if anything crashed or hung."""
    figures: dict[str, Any] = json.loads(report.read_text()) if report and report.exists() else {}
    found = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, target in targets(names or list(TARGETS), Path(folder)):
            result = fuzz(target, inputs or target.inputs, seed)
            figures[name] = {
                "inputs": result.inputs,
                "seconds": round(result.seconds, 1),
                "slowest_seconds": round(result.slowest, 3),
                "crashes": len(result.crashes),
                "hangs": len(result.hangs),
                "seed": seed,
                "outcomes": result.outcomes,
            }
            print(name, json.dumps(figures[name]), flush=True)
            for number, (what, data) in enumerate([*result.crashes, *(("hang", data) for data in result.hangs)]):
                keep.mkdir(exist_ok=True)
                (keep / f"{name}-{seed}-{number}").write_bytes(data)
                if number < 10:
                    print(f"  {name}-{seed}-{number}: {what[:300]}")
            found += len(result.crashes) + len(result.hangs)
            if report:
                report.write_text(json.dumps(figures, indent=1) + "\n")
    total = sum(one["inputs"] for one in figures.values())
    print(f"{total:,} inputs, {found} of the last run crashed or hung")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    typer.run(main)
