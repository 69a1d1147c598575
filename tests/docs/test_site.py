"""The documentation builds as a site, with every page in its navigation and no broken link."""

import json
from pathlib import Path

import pytest

from docs import site


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    site.collect(tmp_path / "pages")
    return tmp_path


def test_the_navigation_names_every_page_once() -> None:
    named = list(site.navigation())
    assert sorted(named) == sorted(map(str, site.find_pages())), "add new pages to `nav` in zensical.toml"


def test_it_builds_with_search_and_without_warnings(folder: Path) -> None:
    done = site.build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    home = (folder / "site" / "index.html").read_text("utf-8")
    assert "Explanation" in home
    assert "googleapis" not in home
    assert 'class="md-source"' not in home  # its script queries api.github.com
    index = json.loads((folder / "site" / "search.json").read_text("utf-8"))
    assert any("RECEIPT_CORRUPT" in json.dumps(item) for item in index["items"])


@pytest.mark.parametrize("link", ["docs/gone.md", "docs/api.md#gone"])
def test_a_broken_link_fails_the_build(folder: Path, link: str) -> None:
    page = folder / "pages" / "README.md"
    page.write_text(f"{page.read_text('utf-8')}\n[broken]({link})\n", "utf-8")
    done = site.build(folder)
    assert done.returncode != 0
    assert "does not exist" in done.stdout + done.stderr


def test_links_to_other_files_lead_to_github() -> None:
    text = "[a](../api.md) [b](../../flows/ingest.py) [c](../../flows) ![d](../images/page-dark.png) `[e](gone)`\n"
    rewritten, pictures = site.rewrite(Path("docs/deploy/laptop.md"), text, {Path("docs/api.md")})
    assert rewritten == (
        f"[a](../api.md) [b]({site.SOURCE}/blob/main/flows/ingest.py) [c]({site.SOURCE}/tree/main/flows) "
        "![d](../images/page-dark.png) `[e](gone)`\n"
    )
    assert pictures == {Path("docs/images/page-dark.png")}
    with pytest.raises(SystemExit, match=r"gone\.md"):
        site.rewrite(Path("README.md"), "[a](gone.md)", set())


def test_nested_blocks_get_the_indentation_that_python_markdown_needs() -> None:
    text = "1. one:\n\n   ```sh\n   a\n     b\n   ```\n\n* two\n  * three\n"
    rewritten, _ = site.rewrite(Path("README.md"), text, set())
    assert rewritten == "1. one:\n\n    ```sh\n    a\n      b\n    ```\n\n* two\n    * three\n"
