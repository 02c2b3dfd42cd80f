"""Executed notebooks as pages next to the report: nbconvert's basic HTML in our template, no scripts, no network."""

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from helpers.paths import atomic_write

# In addition to bleach's own list. Everything else is removed, because notebook output may come from data.
TAGS = "p br hr div span pre table thead tbody tr th td h1 h2 h3 h4 h5 h6 img dl dt dd sub sup small del figure".split()
NO_WORDS = "No description has been provided for this image"  # nbconvert's text for an image without one
HEADING_OR_IMAGE = re.compile(rf'<h[1-6][^>]*>(?P<heading>.*?)</h[1-6]>|alt="{NO_WORDS}"', re.DOTALL)
WHOLLY_OUT = re.compile(r"<(style|script)\b.*?(</\1\s*>|$)", re.DOTALL | re.IGNORECASE)  # including their content


def convert(notebook: Path, target: Path, frame: jinja2.Template, home: str) -> Path:
    """Write a notebook as HTML, unless it is up to date; ``home`` is the report's address relative to the page.

    A page gets the modification time of its notebook. It is written again if the two differ in either direction,
    because clocks can be set back.
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
    """The markup with an alternative text for each image that has none: the section that it is in."""
    section = ""

    def named(found: re.Match[str]) -> str:
        nonlocal section
        if found["heading"] is not None:
            section = re.sub(r"<[^>]*>", "", found["heading"]).strip().replace('"', "&quot;")
            return found[0]
        return f'alt="An image{f" in the section “{section}”" if section else ""}"'

    return HEADING_OR_IMAGE.sub(named, body)


@cache
def exporter() -> Any:
    """nbconvert's HTML exporter, with a sanitizer that keeps headings, paragraphs and tables."""
    from nbconvert import HTMLExporter

    made = HTMLExporter(template_name="basic", sanitize_html=True, exclude_anchor_links=True)
    made.register_filter("clean_html", clean)
    return made


def _allowed(tag: str, name: str, value: str) -> bool:
    """Allow ids and classes, external links, and images embedded in the page."""
    if tag == "img" and name == "src":
        return value.startswith("data:image/")
    if tag == "a" and name == "href":
        return not value.startswith("data:")
    return name in {"class", "id"} or (tag == "img" and name in {"alt", "width", "height"})


def clean(html: str | bytes) -> str:
    """The markup without anything active or external: no script, style, handler, frame or form."""
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
    """The executed notebooks of a run, except failed and unfinished ones."""
    copies = sorted((run / "notebooks").rglob("*.ipynb"))
    return [copy for copy in copies if not copy.name.endswith((".failed.ipynb", ".running.ipynb"))]
