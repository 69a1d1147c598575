"""Every relative link in every Markdown file has an existing target."""

from pathlib import Path

import pytest

from tests.support.markdown import REPOSITORY, broken_links, files, headings


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_links_have_a_target(file: Path) -> None:
    assert broken_links(file) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Some `odd` heading: 2, with *marks*\n```sh\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](gone.md) [b](other.md) [c](other.md#some-odd-heading-2-with-marks) [d](other.md#no-heading) ![e](x.png)\n"
        "[f](https://example.org/gone) [g](#here) `[h](code.md)`\n\n## Here\n\n```md\n[i](fenced.md)\n```\n"
    )
    assert broken_links(page) == ["gone.md", "other.md#no-heading", "x.png"]


def test_the_index_names_every_page() -> None:
    index = REPOSITORY / "docs" / "README.md"
    text = index.read_text()
    pages = {file.relative_to(index.parent) for file in files() if index.parent in file.parents} - {Path("README.md")}
    # Runbooks have a separate index.
    assert [str(page) for page in sorted(pages) if f"({page}" not in text and page.parts[0] != "runbooks"] == []


def test_headings_are_read() -> None:
    assert "questions-and-answers" in headings(REPOSITORY / "docs" / "README.md")
