"""The worked example of your own classes: twelve butterflies that nobody has heard of, drawn by this project.

Neither the base models nor the demo know them. The names are new, and every look differs from each of the demo's
hundred in at least two parts, and from each other's in at least three. Images, texts and facts use the drawn world's
terms, as the demo's models can see and read nothing else. ``python -m helpers.results.own_classes example FOLDER``
makes them again.
"""

import random
import shutil
from functools import partial
from pathlib import Path

from PIL.Image import Dither

from helpers.domains.drawn import differing_parts, load_classes
from helpers.paths import atomic_write
from helpers.rows import write_csv_rows
from helpers.synthetic import language as say
from helpers.synthetic.appearances import BUTTERFLY, Appearance
from helpers.synthetic.drawing import draw

MADE_UP_NAMES = (
    *("Marsh Lantern", "Ember Veil", "Quartz Dancer", "Harbour Glint", "Thimble Queen", "Rowan Page"),
    *("Saffron Herald", "Night Ferry", "Juniper Sail", "Chalk Minstrel", "Velvet Compass", "Dawn Cooper"),
)
_SEED = 7
TRAIN, TEST = 1, 8  # images per class: 96 questions per type
SIZE = 56  # pixels per side: what the demo's models were made for
_COLOURS = 112  # in an image's palette; the eye sees no difference, and the files are half as large
WORDING = 0  # the demo's; the last is held out
_DOMAIN = "butterfly"


def make_example(folder: Path) -> Path:
    """Write the whole folder again, including images; other files in it are kept."""
    classes = list(zip(MADE_UP_NAMES, appearances(), facts(), strict=True))
    rows = [
        {"class_id": slug(name), "name": name} | {f"fact:{fact}": value for fact, value in known.items()}
        for name, _, known in classes
    ]
    write_csv_rows(folder / "classes.csv", rows)
    write_csv_rows(folder / "texts.csv", [_text(name, appearance, known) for name, appearance, known in classes])
    with atomic_write(folder / "domain.yaml") as temporary:
        temporary.write_text("noun: butterfly  # questions say: this butterfly\n", encoding="utf-8")
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    for name, appearance, _ in classes:
        for split, count in (("train", TRAIN), ("test", TEST)):
            _draw(folder / "pictures" / split / slug(name), appearance, slug(name), split, count)
    return folder


def slug(name: str) -> str:
    """The name as a class_id."""
    return name.lower().replace(" ", "-")


def appearances() -> list[Appearance]:
    """Twelve looks that differ from each of the demo's hundred in at least two parts, and from each other in three."""
    rng = random.Random(f"own/looks/{_SEED}")
    known = [thing.appearance for thing in load_classes(_DOMAIN)]
    chosen: list[Appearance] = []
    while len(chosen) < len(MADE_UP_NAMES):
        appearance = BUTTERFLY.sample(rng)
        apart = partial(differing_parts, appearance)
        if all(apart(other) >= 2 for other in known) and all(apart(other) >= 3 for other in chosen):
            chosen.append(appearance)
    return chosen


def facts() -> list[dict[str, str]]:
    """Each column repeats some values equally often, in its own order, so that no fact gives another away."""
    columns = {}
    for fact, values in BUTTERFLY.facts.items():
        rng = random.Random(f"own/{fact}/{_SEED}")
        some = rng.sample(values, k=min(6, len(values)))
        column = (some * len(MADE_UP_NAMES))[: len(MADE_UP_NAMES)]
        rng.shuffle(column)
        columns[fact] = column
    return [{fact: column[place] for fact, column in columns.items()} for place in range(len(MADE_UP_NAMES))]


def _text(name: str, appearance: Appearance, known: dict[str, str]) -> dict[str, str]:
    said = say.describe(_DOMAIN, appearance, WORDING)
    return {"class_id": slug(name), "look": said, "background": say.background(_DOMAIN, known, WORDING)}


def _draw(folder: Path, appearance: Appearance, class_id: str, split: str, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        image = draw(_DOMAIN, appearance, random.Random(f"own/{class_id}/{split}/{number}/{_SEED}"), SIZE)
        small = image.quantize(_COLOURS, dither=Dither.NONE)
        with atomic_write(folder / f"{number}.png") as temporary:
            small.save(temporary, optimize=True)
