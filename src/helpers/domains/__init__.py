"""Where classes, pictures and questions come from: one interface for drawn worlds and real data sets.

`open_domain` gives an object with ``table()`` (what is known of the classes, for looking at), ``questions()``,
``retention_questions()`` and ``bring_pictures(folder)``; `helpers.writer` writes the texts. Nothing after notebook 01
knows where a domain came from. A new source is one function in `SOURCES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from helpers.domains import butterflies, drawn, kviscuit
from helpers.domains.butterflies import ButterflyPhotoDomain
from helpers.domains.drawn import DrawnDomain
from helpers.domains.kviscuit import KViscuitDomain
from helpers.schemas import Question

__all__ = ["SOURCES", "ButterflyPhotoDomain", "Domain", "DrawnDomain", "KViscuitDomain", "Request", "open_domain"]


class Domain(Protocol):
    """What every domain offers."""

    def table(self) -> list[dict[str, Any]]: ...
    def bring_pictures(self, folder: Path) -> None: ...
    def questions(self) -> list[Question]: ...
    def retention_questions(self) -> list[Question]: ...


@dataclass(frozen=True)
class DomainRequest:
    """What is asked of a source; each takes of it what it needs."""

    domain: str
    path: str | Path
    limit_classes: int | None
    pictures_per_class: int
    picture_size: int
    seed: int
    distractors: str


def _open_drawn(request: DomainRequest) -> Domain:
    classes = drawn.load_classes(request.domain, request.limit_classes)
    return DrawnDomain(
        classes, request.pictures_per_class, request.picture_size, request.seed, distractors=request.distractors
    )


def _open_kviscuit(request: DomainRequest) -> Domain:
    return KViscuitDomain(kviscuit.limited(kviscuit.load_kviscuit(request.path), request.limit_classes))


def _open_butterflies(request: DomainRequest) -> Domain:
    return butterflies.open_butterflies(
        request.path, request.limit_classes, request.pictures_per_class, request.seed, request.distractors
    )


def _open_own(request: DomainRequest) -> Domain:
    from helpers.domains.own import open_own

    return open_own(
        request.path,
        request.domain,
        request.pictures_per_class,
        request.picture_size,
        request.seed,
        request.limit_classes,
    )


SOURCES: dict[str, Callable[[DomainRequest], Domain]] = {
    "drawn": _open_drawn,
    "kviscuit": _open_kviscuit,
    "butterflies": _open_butterflies,
    "own": _open_own,
}


def open_domain(
    domain: str,
    source: str,
    source_path: str | Path | None,
    limit_classes: int | None,
    pictures_per_class: int,
    picture_size: int,
    seed: int,
    distractors: str = "random",
) -> Domain:
    """The domain named; ``limit_classes`` takes the first so many classes and their questions.

    ``source_path`` counts from the repository root; `helpers.config.data.Domain` says what it is for each source.
    Raises ``ValueError`` for an unknown source or drawn domain, and what the readers raise.
    """
    if source not in SOURCES:
        raise ValueError(f"a domain's source is {source!r}; known: {', '.join(SOURCES)}")
    if source_path is None and source != "drawn":
        raise ValueError(f"source {source} without a path; name the folder that it is read from")
    path = "" if source_path is None else source_path
    return SOURCES[source](
        DomainRequest(domain, path, limit_classes, pictures_per_class, picture_size, seed, distractors)
    )
