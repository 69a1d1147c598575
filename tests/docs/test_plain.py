"""The check of phrases finds them, even across lines, and accepts good English."""

import re

import pytest

from docs import plain

PHRASES = plain.read_phrases()


def found(text: str, path: str = "page.md") -> list[tuple[int, str]]:
    return [(finding.line, finding.text) for finding in plain.find_phrases(path, text, PHRASES)]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("Nothing leaves the house.", "the house"),  # codespell:ignore
        ("This is no form.", "is no "),  # codespell:ignore
        ("The reason stands in the receipt.", "stands in"),  # codespell:ignore
        ("def test_it_is_taken_up_again() -> None:", "taken up again"),  # codespell:ignore
        ("`stenopool doctor` can tell them apart.", "tell them apart"),  # codespell:ignore
    ],
)
def test_phrases_are_found(text: str, phrase: str) -> None:
    assert found(text) == [(1, phrase)]


@pytest.mark.parametrize(
    "text",
    [
        "There is no receipt.",
        "The run is no longer queued.",
        "Go on to the next page.",
        "In-house speech-to-text.",
        "The file exists. The run continues. It is not a recording.",
    ],
)
def test_good_english_passes(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "Work that is under\nway.",  # codespell:ignore
        "    # Work that is under\n    # way.",  # codespell:ignore
        'text = (\n    "Work that is under "\n    "way."\n)',  # codespell:ignore
    ],
)
def test_a_phrase_may_break_over_lines(text: str) -> None:
    assert [re.sub(r"\W+", " ", phrase) for _, phrase in found(text)] == ["under way"]  # codespell:ignore
    assert found(text)[0][0] == text[: text.index("under")].count("\n") + 1


def test_a_marked_line_is_left_alone() -> None:
    text = "It is under way. <!-- codespell:ignore -->\nOther lines are not: in hand."  # codespell:ignore
    assert found(text) == [(2, "in hand")]  # codespell:ignore


def test_only_unreleased_changes_are_checked() -> None:
    text = "## [Unreleased]\n\n* Is told.\n\n## [0.1.0]\n\n* It is under way.\n"  # codespell:ignore
    assert found(text, "CHANGELOG.md") == []
    assert found(text) == [(7, "under way")]  # codespell:ignore


def test_every_phrase_has_a_suggestion_that_passes() -> None:
    assert len(PHRASES) > 50
    for _, suggestion in PHRASES:
        assert suggestion
        assert found(suggestion) == []


def test_a_sample_has_sentences_of_prose_comments_and_messages(capsys: pytest.CaptureFixture[str]) -> None:
    assert plain.main(["--sample", "20", "docs/plain.py", "docs/deploy", "stenopool/errors.py"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert all(line.endswith(".") and len(line.split()) > 6 for line in lines)
    assert any("`codespell` checks single words" in sentence for sentence in plain.read_sentences("docs/plain.py"))
