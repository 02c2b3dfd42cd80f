"""The worked example of classes of one's own: twelve butterflies that nobody has heard of, drawn by this project.

Neither the base models nor the demo know them: the names are new, and every look differs in at least two parts from
each of the demo's hundred, and in three from the others. Pictures, texts and facts are in the drawn world's terms, as
the demo's models can see and read nothing else. ``python -m helpers.results.own_classes example FOLDER`` makes the same anew.
"""

import csv
import random
import shutil
from collections.abc import Iterable
from pathlib import Path

from PIL.Image import Dither

from helpers.domains.drawn import load_classes
from helpers.paths import atomic_write
from helpers.synthetic import language as say
from helpers.synthetic.drawing import draw
from helpers.synthetic.looks import BUTTERFLY, Look

MADE_UP_NAMES = (
    *("Marsh Lantern", "Ember Veil", "Quartz Dancer", "Harbour Glint", "Thimble Queen", "Rowan Page"),
    *("Saffron Herald", "Night Ferry", "Juniper Sail", "Chalk Minstrel", "Velvet Compass", "Dawn Cooper"),
)
_SEED = 7
TRAIN, TEST = 1, 8  # pictures a class: 96 questions of each type
SIZE = 56  # pixels a side: what the demo's models were made for
_COLOURS = 112  # of a picture's palette; by eye there is no difference, and the files are half as large
WORDING = 0  # the one of the demo; the last is held out
_DOMAIN = "butterfly"


def make_example(folder: Path) -> Path:
    """Write the whole folder anew, pictures included; other files in it are left alone."""
    classes = list(zip(MADE_UP_NAMES, looks(), facts(), strict=True))
    rows = [{"class_id": slug(name), "name": name} | _columns(known) for name, _, known in classes]
    _write(folder / "classes.csv", rows)
    _write(folder / "texts.csv", [_text(name, look, known) for name, look, known in classes])
    with atomic_write(folder / "domain.yaml") as temporary:
        temporary.write_text("noun: butterfly  # questions say: this butterfly\n", encoding="utf-8")
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    for name, look, _ in classes:
        for split, count in (("train", TRAIN), ("test", TEST)):
            _draw(folder / "pictures" / split / slug(name), look, slug(name), split, count)
    return folder


def slug(name: str) -> str:
    """The name as a class_id."""
    return name.lower().replace(" ", "-")


def looks() -> list[Look]:
    """Twelve looks, each at least two parts away from the demo's hundred and three from each other."""
    rng = random.Random(f"own/looks/{_SEED}")
    known = [thing.look for thing in load_classes(_DOMAIN)]
    chosen: list[Look] = []
    while len(chosen) < len(MADE_UP_NAMES):
        look = BUTTERFLY.sample(rng)
        if all(_apart(look, other) >= 2 for other in known) and all(_apart(look, other) >= 3 for other in chosen):
            chosen.append(look)
    return chosen


def _apart(look: Look, other: Look) -> int:
    return sum(look[part] != other[part] for part in BUTTERFLY.parts)


def facts() -> list[dict[str, str]]:
    """Each column goes evenly through some values, in an order of its own, so that no fact gives another away."""
    columns = {}
    for fact, values in BUTTERFLY.facts.items():
        rng = random.Random(f"own/{fact}/{_SEED}")
        some = rng.sample(values, k=min(6, len(values)))
        column = (some * len(MADE_UP_NAMES))[: len(MADE_UP_NAMES)]
        rng.shuffle(column)
        columns[fact] = column
    return [{fact: column[place] for fact, column in columns.items()} for place in range(len(MADE_UP_NAMES))]


def _columns(known: dict[str, str]) -> dict[str, str]:
    return {f"fact:{fact}": value for fact, value in known.items()}


def _text(name: str, look: Look, known: dict[str, str]) -> dict[str, str]:
    said = say.describe(_DOMAIN, look, WORDING)
    return {"class_id": slug(name), "look": said, "background": say.background(_DOMAIN, known, WORDING)}


def _write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    rows = list(rows)
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _draw(folder: Path, look: Look, class_id: str, split: str, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        picture = draw(_DOMAIN, look, random.Random(f"own/{class_id}/{split}/{number}/{_SEED}"), SIZE)
        small = picture.quantize(_COLOURS, dither=Dither.NONE)
        with atomic_write(folder / f"{number}.png") as temporary:
            small.save(temporary, optimize=True)
