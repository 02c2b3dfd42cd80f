"""README, `docs/` and the executed notebooks as a site to read offline: `./run_all.sh site` makes `site/index.html`.

nbconvert does the work, for notebooks and Markdown alike: the report needs it anyway. MyST and Jupyter Book 2 need Node
and fetch their theme from the network; Jupyter Book 1 brings Sphinx and its extensions. The pages share the report's
template, so they have no scripts and load nothing; dark mode is the reader's own setting.

The site mirrors the repository. Every Markdown file that is linked becomes a page, any other linked file is copied, and
a link to nothing is an error.
"""

import argparse
import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from html import escape, unescape
from pathlib import Path
from urllib.parse import quote, unquote

from helpers.paths import ROOT, resolve_output
from helpers.results.report.executed import exporter, with_words
from helpers.results.report.page import template_environment

_LINK = re.compile(r'(?P<before>\b(?:href|src)=")(?P<address>[^"]*)(?=")')
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")
_HEADING = re.compile(r"<h(?P<level>[1-6])[^>]*>(?P<words>.*?)</h(?P=level)>", re.DOTALL)
_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)


class SiteError(ValueError):
    """A link that leads nowhere. The message names the page, the link and the remedy."""


@dataclass
class Site:
    """A site in the making: pages still to be made, by source, and everything written so far, below ``target``."""

    root: Path
    target: Path
    navigation: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # of each group: titles and addresses
    pages: dict[Path, str] = field(default_factory=dict)  # source to address; in the order in which they are made
    bodies: dict[str, str] = field(default_factory=dict)

    def add(self, source: Path) -> str:
        """The address of a source's page, which is made if it is new."""
        if source not in self.pages:
            relative = source.relative_to(self.root)
            shown = Path("index.html") if relative == Path("README.md") else relative.with_suffix(".html")
            self.pages[source] = shown.as_posix()
            read = _notebook if source.suffix == ".ipynb" else _markdown
            body = read(self.executed(source))
            self.bodies[self.pages[source]] = _TABLE.sub(_scrolling, self.linked(body, source))
        return self.pages[source]

    def executed(self, source: Path) -> Path:
        """What is shown of a source: of a notebook its executed copy, if it is published."""
        copy = source.parent / "executed" / source.name
        return copy if source.suffix == ".ipynb" and copy.is_file() else source

    def linked(self, body: str, source: Path) -> str:
        """The body with each link of the repository turned into one of the site."""
        page = self.pages[source]

        def turned(found: re.Match[str]) -> str:
            address = unescape(found["address"])
            if not address or address.startswith("#") or _SCHEME.match(address):
                return found[0]
            name, _, anchor = address.partition("#")
            there = self.place(source, unquote(name))
            relative = quote(os.path.relpath(there, Path(page).parent)) + (f"#{anchor}" if anchor else "")
            return found["before"] + escape(relative)

        return _LINK.sub(turned, body)

    def place(self, source: Path, name: str) -> str:
        """The address of what a page links to: another page, or a file, which is copied."""
        file = Path(os.path.normpath(source.parent / name))
        if file.suffix == ".ipynb" and file.parent.name == "executed":
            file = file.parent.parent / file.name  # a notebook and its executed copy are one page
        if not file.is_file() or not file.is_relative_to(self.root):
            shown = source.relative_to(self.root)
            raise SiteError(f"{shown} links to {name}, which is no file of the repository; correct the link in {shown}")
        if file.suffix in (".md", ".ipynb"):
            return self.add(file)
        copy = self.target / file.relative_to(self.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        return file.relative_to(self.root).as_posix()

    def write(self) -> Path:
        """Write the pages, each with the navigation; returns the index."""
        frame = template_environment().get_template("site.html.j2")
        for page, body in self.bodies.items():
            groups = {
                group: [(title, os.path.relpath(to, Path(page).parent), to == page) for title, to in links]
                for group, links in self.navigation.items()
            }
            file = self.target / page
            file.parent.mkdir(parents=True, exist_ok=True)
            home = os.path.relpath("index.html", Path(page).parent)
            file.write_text(
                frame.render(title=_title(body) or page, body=body, groups=groups, home=home), encoding="utf-8"
            )
        return self.target / "index.html"


def build_site(target: Path, root: Path = ROOT) -> Path:
    """Make the site of a clone below ``target``; returns its index. Raises `SiteError` for a link to nothing."""
    site = Site(root, target)
    groups = {
        "Start": [root / "README.md"],
        "Documents": [*sorted((root / "docs").glob("*.md")), root / "REPRODUCTION.md", root / "LOG.md"],
        "Notebooks": sorted((root / "notebooks").glob("*.ipynb")),
    }
    for group, sources in groups.items():
        addresses = [site.add(source) for source in sources if source.is_file()]
        site.navigation[group] = [(_title(site.bodies[to]) or to, to) for to in addresses]
    return site.write()


def _notebook(file: Path) -> str:
    return with_words(str(exporter().from_filename(str(file))[0]))


def _markdown(file: Path) -> str:
    """A document of this repository as HTML, its headings with the anchors that GitHub gives them."""
    from nbconvert.filters import markdown2html

    return _HEADING.sub(_anchored, str(markdown2html(file.read_text(encoding="utf-8"))))


def _anchored(found: re.Match[str]) -> str:
    words = re.sub(r'<a class="anchor-link".*?</a>', "", found["words"])
    anchor = re.sub(r"[^\w\- ]", "", _plain(words).lower()).replace(" ", "-")
    return f'<h{found["level"]} id="{anchor}">{words}</h{found["level"]}>'


def _plain(html: str) -> str:
    return unescape(re.sub(r"<[^>]*>", "", html)).strip()


def _scrolling(found: re.Match[str]) -> str:
    """A table that is wider than the window moves by itself, also with the keyboard."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{found[0]}</div>'


def _title(body: str) -> str:
    heading = _HEADING.search(body)
    return _plain(heading["words"]).replace("¶", "").partition(":")[0] if heading else ""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 made, 2 a link leads nowhere."""
    parser = argparse.ArgumentParser(prog="python -m helpers.results.site", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--to", type=Path, default=ROOT / "site", help="the folder for it (default: site)")
    try:
        print(build_site(resolve_output(parser.parse_args(arguments).to)))
    except SiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
