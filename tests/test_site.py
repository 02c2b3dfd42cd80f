"""`./run_all.sh site`: every page is reached, every link leads somewhere, and nothing is loaded from the network."""

import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from helpers.results.site import SiteError, build_site, main

sys.path.insert(0, str(Path(__file__).parent))
from browser import CHROMIUM, Browser

TEXTS = {
    "README.md": "# Home: a study\n\n![One](figures/one.png)\n[how](docs/how.md#the-2nd-way) "
    "[run](notebooks/00_a.ipynb)\n",
    "docs/how.md": "# How\n\n## The 2nd way!\n\n[home](../README.md), [same](#how), [numbers](../data/a%20b.csv), "
    "[seen](../notebooks/executed/00_a.ipynb), [away](https://example.org/x.md), [note](../data/NOTE.md)\n",
    "data/NOTE.md": "# Note\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "data/a b.csv": "a\n1\n",
    "figures/one.png": "not decoded here",
}
NOTEBOOK = """{"cells": [{"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# 00: %s"}], "metadata": {},
 "nbformat": 4, "nbformat_minor": 5}"""


class Page(HTMLParser):
    """Anchors and addresses of a page; ``loaded`` are those that a browser fetches by itself."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors, self.links, self.loaded = set(), [], []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors.add(values.get("id"))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in ("img", "script", "link", "iframe"):
            self.loaded.append(values.get("src") or values.get("href"))


def faults(site: Path) -> tuple[list[str], set[Path]]:
    """What is wrong with a site, and the pages that are reached from its index."""
    wrong, seen, waiting = [], set(), [site / "index.html"]
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        page = Page(file)
        for address in page.links + page.loaded:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loaded and parts.scheme != "data":
                    wrong.append(f"{file.name} loads {address}")
                continue
            there = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not there.is_file() or not there.is_relative_to(site):
                wrong.append(f"{file.name} links to {address}")
            elif there.suffix == ".html":
                waiting.append(there)
                if parts.fragment and unquote(parts.fragment) not in Page(there).anchors:
                    wrong.append(f"{file.name} links to {address}, which has no such heading")
    return wrong, seen


@pytest.fixture
def clone(tmp_path):
    """A tiny repository, with an executed copy of its notebook."""
    root = tmp_path / "clone"
    for name, text in TEXTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    for name, title in {"notebooks/00_a.ipynb": "empty", "notebooks/executed/00_a.ipynb": "run"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(NOTEBOOK % title, encoding="utf-8")
    return root


def test_documents_and_notebooks_become_pages_that_link_to_each_other(clone, tmp_path):
    index = build_site(tmp_path / "site", clone)
    wrong, seen = faults(index.parent)
    assert wrong == []
    assert {file.relative_to(index.parent).as_posix() for file in seen} == {
        *("index.html", "docs/how.html", "data/NOTE.html", "notebooks/00_a.html")
    }
    assert (index.parent / "data/a b.csv").read_text() == TEXTS["data/a b.csv"]
    how = (index.parent / "docs/how.html").read_text(encoding="utf-8")
    assert '<h2 id="the-2nd-way">' in how
    assert 'href="https://example.org/x.md"' in how
    assert 'aria-current="page">How<' in how


def test_a_notebook_is_shown_as_it_was_executed_or_else_as_it_stands(clone, tmp_path):
    page = build_site(tmp_path / "site", clone).parent / "notebooks/00_a.html"
    assert "00: run" in page.read_text(encoding="utf-8")
    shutil.rmtree(clone / "notebooks/executed")
    build_site(tmp_path / "site", clone)
    assert "00: empty" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["gone.md", "../outside.md", "docs"])
def test_a_link_to_nothing_is_an_error_that_names_the_page(clone, tmp_path, name):
    (tmp_path / "outside.md").write_text("# Outside\n", encoding="utf-8")
    (clone / "README.md").write_text(f"# Home\n\n[there]({name})\n", encoding="utf-8")
    with pytest.raises(SiteError, match=re.escape(f"README.md links to {name}, which is no file of the repository")):
        build_site(tmp_path / "site", clone)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    assert main(["--to", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_the_site_of_this_repository_has_no_dead_link(site):
    wrong, seen = faults(site)
    assert wrong == []
    assert seen == set(site.rglob("*.html"))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_pages_fit_every_window_in_light_and_dark_and_show_their_images(site, tmp_path):
    with Browser(tmp_path) as browser:
        for page in ("index.html", "docs/models.html", "docs/results.html", "notebooks/04_evaluation.html"):
            for width, dark in ((390, False), (1024, True), (1366, True)):
                browser.show(site / page, width, dark=dark)
                assert browser.ask("document.documentElement.scrollWidth") <= width, page
                assert browser.ask("[...document.images].filter(i => !i.naturalWidth).length") == 0
                ink, paper = (
                    browser.ask(f"getComputedStyle(document.body).{name}") for name in ("color", "background")
                )
                light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
                assert (light[0] > light[1]) is dark
                assert browser.complaints() == []
