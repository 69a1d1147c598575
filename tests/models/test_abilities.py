"""The abilities of weights are read from their digest or their vocabulary, whatever they are called."""

import json
import pickle
import zipfile
from pathlib import Path

import pytest

from stenopool import models
from stenopool.languages import language_names
from stenopool.models import cache
from stenopool.models.abilities import find_facts
from stenopool.settings import get_settings
from stenopool.whisper_models import ENGLISH, facts_of

WORDS = [f"word{number}" for number in range(50_257)]


def _vocabulary(*languages: str) -> list[str]:
    """Like Whisper's vocabularies: words, then tokens of languages and tasks, then times. Its size identifies the
    model.
    """
    tasks = ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    times = [f"<|{time / 50:.2f}|>" for time in range(1501)]
    return [*WORDS, "<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in languages), *tasks, *times]


EARLIER = tuple(code for code in language_names() if code != "yue")


@pytest.mark.parametrize(
    ("languages", "known"),
    [(EARLIER, set(EARLIER)), ((*EARLIER, "yue"), {*EARLIER, "yue"}), (EARLIER[:-1], {"en"})],
    ids=["99", "100", "English"],
)
@pytest.mark.parametrize("form", ["json", "txt"])
def test_a_folder_is_identified_by_its_vocabulary(
    languages: tuple[str, ...], known: set[str], form: str, tmp_path: Path
) -> None:
    tokens = _vocabulary(*languages)
    text = json.dumps(tokens) if form == "json" else "".join(f"{token}\n" for token in tokens)
    (tmp_path / f"vocabulary.{form}").write_text(text, encoding="utf-8")
    facts = find_facts(tmp_path, "0" * 64)
    assert facts is not None
    assert facts.languages == known
    assert facts.translates == (known != ENGLISH)


@pytest.mark.parametrize(("size", "count"), [(51_864, 1), (51_865, 99), (51_866, 100)])
def test_a_checkpoint_is_identified_by_the_size_of_its_vocabulary(size: int, count: int, tmp_path: Path) -> None:
    dims = {"n_mels": 80, "n_audio_ctx": 1500, "n_vocab": size, "n_text_ctx": 448}
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"dims": dims, "model_state_dict": {}}, protocol=2))
    facts = find_facts(tmp_path / "model.pt", "0" * 64)
    assert facts is not None
    assert len(facts.languages) == count
    assert ("yue" in facts.languages) == (count == 100)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> object:
            return Path.touch, (tmp_path / "was-run",)

    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"x": Touch(), "n_vocab": 51_865}))
    assert find_facts(tmp_path / "model.pt", "0" * 64) is not None
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("vocabulary.json", "{"), ("vocabulary.json", "[1, 2]"), ("vocabulary.txt", "a\nb\n"), ("other", "")],
)
def test_a_folder_without_evidence_is_not_judged(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert find_facts(tmp_path, "0" * 64) is None


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all"])
def test_a_checkpoint_without_evidence_is_not_judged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    assert find_facts(tmp_path / "model.pt", "0" * 64) is None


def test_a_public_model_is_identified_by_its_digest_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turbo = "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da"  # stenopool/models/pins.toml
    openai = "aff26ae408abcba5fbf8813c21e62b0941638c5f6eebfb145be0c9839262a19a"  # published.toml
    for digest in (turbo, openai):
        assert find_facts(tmp_path, digest) == facts_of("turbo")
    folder = tmp_path / "ours"
    folder.mkdir()
    for file in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / file).touch()
    (folder / "model.bin").write_text("weights")
    pins = tmp_path / "pins.toml"
    pins.write_text(
        f'["x/faster-distil-whisper-large-v3"]\nrevision = "{"0" * 40}"\n\n["x/faster-distil-whisper-large-v3".files]\n'
        f'"model.bin" = "{cache.sha256(folder / "model.bin")}"\n'
    )
    monkeypatch.setenv("STENOPOOL_MODELS__PINS", str(pins))
    get_settings.cache_clear()
    assert models.find(str(folder), "ctranslate2").facts == facts_of("distil-large-v3")
