"""Executed notebooks as pages beside the report: nbconvert's plain form in our frame, no script, no network."""

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from helpers.paths import atomic_write

# Beside what bleach allows by itself. Everything else is taken out: what a notebook shows may come from data.
TAGS = "p br hr div span pre table thead tbody tr th td h1 h2 h3 h4 h5 h6 img dl dt dd sub sup small del figure".split()
NO_WORDS = "No description has been provided for this image"  # nbconvert's, for a picture without words
HEADING_OR_PICTURE = re.compile(rf'<h[1-6][^>]*>(?P<heading>.*?)</h[1-6]>|alt="{NO_WORDS}"', re.DOTALL)
WHOLLY_OUT = re.compile(r"<(style|script)\b.*?(</\1\s*>|$)", re.DOTALL | re.IGNORECASE)  # with their content


def convert(notebook: Path, target: Path, frame: jinja2.Template, home: str) -> Path:
    """Write a notebook as HTML, unless that has been done; ``home`` is the report's address from the page.

    A page gets its notebook's time, and is written anew whenever the two differ: a clock can be set back.
    """
    time = notebook.stat().st_mtime_ns
    if target.is_file() and target.stat().st_mtime_ns == time:
        return target
    body = with_words(exporter().from_filename(str(notebook))[0])
    with atomic_write(target) as temporary:
        temporary.write_text(frame.render(title=notebook.stem, body=body, home=home), encoding="utf-8")
        os.utime(temporary, ns=(time, time))
    return target


def with_words(body: str) -> str:
    """The markup with words for each picture that has none: the section that it stands in."""
    section = ""

    def named(found: re.Match[str]) -> str:
        nonlocal section
        if found["heading"] is not None:
            section = re.sub(r"<[^>]*>", "", found["heading"]).strip().replace('"', "&quot;")
            return found[0]
        return f'alt="A picture{f" of the section “{section}”" if section else ""}"'

    return HEADING_OR_PICTURE.sub(named, body)


@cache
def exporter() -> Any:
    """nbconvert's, with a cleaner that leaves headings, paragraphs and tables in."""
    from nbconvert import HTMLExporter

    made = HTMLExporter(template_name="basic", sanitize_html=True, exclude_anchor_links=True)
    made.register_filter("clean_html", clean)
    return made


def _allowed(tag: str, name: str, value: str) -> bool:
    """Of attributes: names and classes, links to elsewhere, and pictures that are in the page."""
    if tag == "img" and name == "src":
        return value.startswith("data:image/")
    if tag == "a" and name == "href":
        return not value.startswith("data:")
    return name in {"class", "id"} or (tag == "img" and name in {"alt", "width", "height"})


def clean(html: str | bytes) -> str:
    """The markup without anything that could act or load: no script, style, handler, frame or form."""
    import bleach

    text = html.decode("utf-8") if isinstance(html, bytes) else html
    return bleach.clean(
        WHOLLY_OUT.sub("", text),
        tags={*bleach.ALLOWED_TAGS, *TAGS},
        attributes=_allowed,
        protocols={"http", "https", "data"},
        strip=True,
    )


def executed_notebooks(run: Path) -> list[Path]:
    """The executed copies of a run, without those of failures or of runs in progress."""
    copies = sorted((run / "notebooks").rglob("*.ipynb"))
    return [copy for copy in copies if not copy.name.endswith((".failed.ipynb", ".running.ipynb"))]
