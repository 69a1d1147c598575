"""Read a file's audio headers in a child process, so that a crash, hang or takeover harms nothing else."""

import math
import os
import resource
import selectors
import time
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from stenopool.errors import ErrorCode, RecordingError
from stenopool.settings import get_settings
from stenopool.speech.audio import sandbox
from stenopool.speech.audio.formats import MOST_PARTS
from stenopool.speech.audio.samples import RawFormat

# Audio containers that are recognized by their content. Excludes playlists, concat scripts, subtitles and pictures,
# which can refer to other files, and headerless formats, which match any bytes.
_DEMUXERS = (
    "aac,aax,ac3,ac4,adx,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,gsm,gxf,iff,ircam,"
    "lc3,loas,matroska,webm,mlp,mov,mp4,m4a,3gp,3g2,mj2,mmf,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nsv,nut,ogg,oma,"
    "osq,paf,pvf,qcp,rm,shn,smjpeg,sox,swf,tak,truehd,tta,voc,vqf,w64,wav,wsd,wtv,wv,xwma"
)
# libav's options, the same for the prober and the decoder, so that both see the same streams.
INPUT_OPTIONS = {
    # The reader gets one open file, and cannot open other files that it refers to. subfile is a part of that file.
    "protocol_whitelist": "fd,subfile",
    "format_whitelist": _DEMUXERS,
    "max_streams": "128",  # a broadcast multiplex has dozens of streams; headers of a few bytes can claim thousands
    # Broadcast and camera streams may start with half a minute of video before the first audio.
    "probesize": str(32 * 1024**2),
    "analyzeduration": str(30 * 1_000_000),
}
_MEMORY = 2 * 1024**3
_MOST_BYTES = 256 * 1024  # maximum size of an answer: 128 tracks with titles in any script
_DIED = (BrokenPipeError, ValueError)  # the child ended without an answer, or with an incomplete one


_Text = Annotated[str, AfterValidator(sandbox.printable)]
_Count = Annotated[int, Field(ge=0, lt=2**31)]


class Part(BaseModel):
    """A part of the file that is decoded as a separate file."""

    model_config = ConfigDict(frozen=True)

    start: Annotated[int, Field(ge=0, lt=2**63)]
    end: Annotated[int, Field(ge=0, lt=2**63)]
    samples: RawFormat | None  # format of samples without headers; None for a part that has headers
    sample_rate: _Count  # only for samples without headers, like the channels
    channels: Annotated[int, Field(ge=1, lt=2**31)]
    to_its_end: bool  # read to the end, whatever size the part's header gives


class Track(BaseModel):
    """One audio track according to its container's headers."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    codec: _Text  # "unknown" if FFmpeg cannot decode it
    stream: _Count  # index among the audio streams
    sample_rate: _Count
    channels: Annotated[int, Field(ge=1, lt=2**31)]
    layout: _Text | None  # speaker positions, e.g. 5.1; None if unknown
    start: Annotated[float, Field(ge=0)]  # seconds from the start of the file to the start of its audio
    duration: float | None  # seconds according to the headers; None if unknown, or only estimated from a bit rate
    floating: bool = False  # decoded samples may exceed full scale
    contradictory: bool = False  # the headers contradict each other or the data
    clock: bool = True  # packet times agree with the audio in the packets
    language: _Text | None = None  # as given in the file: eng, de-DE, ...
    title: _Text | None = None
    roles: tuple[_Text, ...] = ()  # libav's dispositions: default, comment, visual_impaired, ...

    @property
    def number(self) -> int:
        """Number of the track, counting audio tracks from 1."""
        return self.stream + 1

    @property
    def decodable(self) -> bool:
        """Whether FFmpeg supports the codec."""
        return self.codec != "unknown"


class Probe(Track):
    """A file's audio according to its headers, corrected by its bytes where those contradict the headers.

    The fields of `Track` describe the track to decode: by default the one that a player plays, which is the default
    track, else the first.
    """

    container: _Text  # libav's name, e.g. wav or mov,mp4,m4a,3gp,3g2,mj2
    payload: Annotated[int, Field(ge=0, lt=2**63)] | None = None  # bytes of audio; None if mixed with other bytes
    packet_overhead: Annotated[int, Field(ge=0, lt=2**10)] = 0  # bytes that the container adds to each packet
    parts: Annotated[tuple[Part, ...], Field(max_length=MOST_PARTS)] = ()  # decode these instead of the whole file
    all_tracks: Annotated[tuple[Track, ...], Field(max_length=128)] = ()  # empty for formats with a single track

    @property
    def tracks(self) -> tuple[Track, ...]:
        """All audio tracks of the file."""
        return self.all_tracks or (self,)

    def of(self, track: Track) -> "Probe":
        """The same file, with another track to decode."""
        return self.model_copy(update=dict(track))


def probe(path: Path) -> Probe:
    """Read the headers of an audio or video file.

    Raises `RecordingError`: EMPTY_FILE, NOT_AUDIO, EXTERNAL_REFERENCE, INPUT_CORRUPT (known container, unreadable),
    NO_AUDIO_STREAM, UNSUPPORTED_CODEC, TOO_MANY_STREAMS, DECODE_MEMORY, or DECODE_TIMEOUT after
    ``settings.audio.probe_timeout``.
    """
    if path.stat().st_size == 0:
        raise RecordingError(ErrorCode.EMPTY_FILE, "The file is empty (0 bytes).")
    seconds = get_settings().audio.probe_timeout
    try:
        try:
            answer = _ask(path, seconds)
        except _DIED:  # another process may have killed it
            answer = _ask(path, seconds)
    except TimeoutError as error:
        raise RecordingError(
            ErrorCode.DECODE_TIMEOUT,
            f"Reading the file's headers took more than {seconds:g} s.",
            remedy="Check the file, or raise STENOPOOL_AUDIO__PROBE_TIMEOUT.",
        ) from error
    except _DIED as error:
        raise RecordingError(ErrorCode.INPUT_CORRUPT, "The program that reads the file's headers crashed.") from error
    if isinstance(answer, _Refusal):
        raise RecordingError(ErrorCode[answer.error], answer.message)
    return answer


class _Refusal(BaseModel):
    """The prober's reason for refusing a file."""

    error: Literal[
        "EXTERNAL_REFERENCE",
        "INPUT_CORRUPT",
        "NO_AUDIO_STREAM",
        "NOT_AUDIO",
        "TOO_MANY_STREAMS",
        "DECODE_MEMORY",
        "UNSUPPORTED_CODEC",
    ]
    message: _Text


# A malicious file may have taken over the prober, so its answer is validated.
_ANSWER: TypeAdapter[Probe | _Refusal] = TypeAdapter(Probe | _Refusal)


def _ask(path: Path, seconds: float) -> Probe | _Refusal:
    """Return a prober's answer. Raises `TimeoutError`, `BrokenPipeError`, or `ValueError` for an invalid answer."""
    cpu = math.ceil(seconds) + 2
    limits = {
        resource.RLIMIT_AS: (_MEMORY, _MEMORY),
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_CPU: (cpu, cpu + 1),
    }
    with path.open("rb") as file, sandbox.start_prober(INPUT_OPTIONS, stdin=file, limits=limits) as prober:
        assert prober.stdout is not None  # noqa: S101 (for mypy)
        return _ANSWER.validate_json(_read_line(prober.stdout, seconds))


def _read_line(pipe: BinaryIO, seconds: float) -> bytes:
    deadline, line = time.monotonic() + seconds, b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError
            piece = os.read(pipe.fileno(), _MOST_BYTES)
            if not piece:
                raise BrokenPipeError
            line += piece
            if len(line) > _MOST_BYTES:
                raise ValueError("The prober's answer is too long.")
    return line
