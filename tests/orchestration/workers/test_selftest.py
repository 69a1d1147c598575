"""The GPU image's self-test, with the real libraries of this environment, on the CPU."""

from pathlib import Path

import pytest

from stenopool.orchestration.workers import selftest


def test_the_locked_libraries_are_compatible(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert selftest.run("cpu")
    said = capsys.readouterr().err
    assert "CTranslate2     4" in said
    assert "encodes on cpu" in said
    assert "computes on cpu" in said


def test_without_torch_there_is_less_to_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "find_spec", lambda _: None)
    assert selftest.run("cpu")
    said = capsys.readouterr().err
    assert "encodes on cpu" in said
    assert "torch" not in said


def test_without_a_gpu_the_remedy_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    attempt = selftest.attempt
    monkeypatch.setattr(selftest, "attempt", lambda *what: attempt(*what) if what == ("gpu",) else "tried above")
    assert not selftest.run("cuda")
    said = capsys.readouterr().err
    assert "no usable GPU was found" in said
    assert "--gpus all" in said


def test_a_library_that_kills_its_process_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt(name: str, *_: str) -> str:
        return selftest.run_command(["sh", "-c", "kill -ABRT $$"]) if name == "ctranslate2" else "tried above"

    monkeypatch.setattr(selftest, "attempt", attempt)
    assert not selftest.run("cpu")
    said = capsys.readouterr().err
    assert "killed by signal 6" in said
    assert "Compare the versions" in said


class TestReadVersions:
    def test_versions_of_libraries_opened_by_name_are_read(self, tmp_path: Path) -> None:
        library = tmp_path / "lib.so"
        library.write_bytes(b"\x7fELF\0libcudnn.so.8\0...\0libcublas.so.12\0libcuda.so.1\0")
        assert selftest.read_versions(library) == {"dnn": 8, "blas": 12}

    def test_versions_of_the_real_library_are_read(self) -> None:
        import ctranslate2

        (library,) = Path(ctranslate2.__file__).parent.with_name("ctranslate2.libs").glob("libctranslate2*")
        assert selftest.read_versions(library)["blas"] == 12
