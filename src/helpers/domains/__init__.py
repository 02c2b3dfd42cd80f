"""Where classes, pictures and questions come from: one interface for drawn worlds and real data sets.

`open_domain` gives an object with ``table()`` (what is known of the classes, for looking at), ``questions()`` and
``bring_pictures(folder)``; `helpers.writer` writes the texts. Nothing after notebook 01 knows where a domain came from.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from helpers.datasets import bring_pictures
from helpers.domains import drawn, kviscuit
from helpers.questions import Question


class Domain(Protocol):
    """What every domain offers."""

    def table(self) -> list[dict[str, Any]]: ...
    def bring_pictures(self, folder: Path) -> None: ...
    def questions(self) -> list[Question]: ...


@dataclass(frozen=True)
class DrawnDomain:
    """A drawn world: pictures are made here, one a class for training, others for the test and the dev questions."""

    classes: list[drawn.DrawnClass]
    pictures_per_class: int
    picture_size: int
    seed: int

    def table(self) -> list[dict[str, Any]]:
        return [{"name": c.name, "category": c.category, **c.look, **c.facts} for c in self.classes]

    def bring_pictures(self, folder: Path) -> None:
        for split, count in (("train", 1), ("test", self.pictures_per_class), ("dev", self.pictures_per_class)):
            drawn.save_pictures(self.classes, split, count, folder, self.picture_size, self.seed)

    def questions(self) -> list[Question]:
        return [
            question
            for split in ("test", "dev")
            for question in drawn.questions(self.classes, split, self.pictures_per_class, self.seed)
        ]


@dataclass(frozen=True)
class KViscuitDomain:
    """K-VISCUIT's photographs and questions; it is all test, so there is no training picture."""

    data: kviscuit.KViscuit

    def table(self) -> list[dict[str, Any]]:
        return [{"category": name, "type 1": one, "type 2": two} for name, (one, two) in self.data.counts().items()]

    def bring_pictures(self, folder: Path) -> None:
        bring_pictures((q.picture for q in self.data.questions if q.picture), self.data.folder, folder)

    def questions(self) -> list[Question]:
        return self.data.questions


def open_domain(
    domain: str,
    source: str,
    source_path: str | Path | None,
    limit_classes: int | None,
    pictures_per_class: int,
    picture_size: int,
    seed: int,
) -> Domain:
    """The domain named; ``limit_classes`` takes the first so many classes and their questions.

    Raises ``ValueError`` for an unknown source or drawn domain, and what the readers raise.
    """
    if source == "drawn":
        classes = drawn.load_classes(domain, limit_classes)
        return DrawnDomain(classes, pictures_per_class, picture_size, seed)
    if source == "kviscuit":
        return KViscuitDomain(kviscuit.limited(kviscuit.load_kviscuit(Path(source_path or "")), limit_classes))
    raise ValueError(f"source is {source!r}; known: drawn, kviscuit")
