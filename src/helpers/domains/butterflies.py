"""The paper's butterflies: photographs from the Kaggle set, its authors' 400 questions, or both.

- "Butterfly & Moths Image Classification 100 species" (Kaggle), unpacked: ``train|valid|test/<CLASS NAME>/<n>.jpg``.
  Provides one training image per class, and test images, about which the drawn world's questions are asked; ``valid``
  provides the dev questions. ``data/butterfly_names.csv`` lists the set's known faults and corrects them.
- huggingface.co/datasets/HAERAE-HUB/butterflies_and_moths_vqa: the test set of the paper's authors; its card names the
  columns image, label, question, options ("A) ... B) ..."), answer (a letter) and question_type. Columns are found by
  type and name (`helpers.domains.butterfly_vqa`), so that copies in another format can be read too.
- A folder with both (``train/`` and parquet files) is the paper's setting: train on the former, test on the latter.

The looks and facts of the classes are those in ``data/butterflies.csv``, so that every writer works for drawn and
photographed butterflies alike.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from helpers.domains import butterfly_vqa, parquet_source
from helpers.domains.butterfly_vqa import label_of
from helpers.domains.drawn import DrawnClass, TableDomain, load_classes, questions_on
from helpers.domains.interface import DataSource, DomainRequest, Origin
from helpers.images import SUFFIXES, bring_image, check_image_file
from helpers.paths import DATA, is_hub_id, resolve, visible
from helpers.rows import check_image, read_csv_rows
from helpers.schemas import Question
from helpers.workflow.provenance import sha256

_DOMAIN = "butterfly"
NAMES_FILE = DATA / "butterfly_names.csv"
_FOLDERS = {"train": "train", "test": "test", "dev": "valid"}  # our name of a split, and the set's
LAYOUT = "train|valid|test/<CLASS NAME>/<n>.jpg"


@dataclass(frozen=True)
class ButterflyPhotoDomain(TableDomain):
    """Photographed butterflies, with the looks and facts of the drawn ones."""

    asked: list[Question]
    training: dict[str, str]  # training images by class id; empty if there are only questions
    bring: Callable[[Path], None] = field(repr=False)

    def table(self) -> list[dict[str, Any]]:
        """One row per class: its number of images per split, its look and its facts."""
        shown = {(q.class_id, q.split, q.image) for q in self.asked}
        counts = Counter((name, split) for name, split, _ in shown)
        return [
            {
                "name": c.name,
                "category": c.category,
                "train": int(c.class_id in self.training),
                "test": counts[c.class_id, "test"],
                "dev": counts[c.class_id, "dev"],
                **c.appearance,
                **c.facts,
            }
            for c in self.classes
        ]

    def training_image(self, thing: DrawnClass) -> str | None:
        return self.training.get(thing.class_id)

    def bring_images(self, folder: Path) -> None:
        self.bring(folder)

    def questions(self) -> list[Question]:
        return self.asked


def open_butterflies(request: DomainRequest) -> ButterflyPhotoDomain:
    """Read a folder with the Kaggle set, the authors' questions or both, or the questions by their hub id.

    ``images_per_class`` and ``distractors`` apply to the Kaggle set's questions; the authors' are used unchanged.
    Raises ``FileNotFoundError`` for a folder of another kind; ``ValueError``, which names all unknown folders, all
    classes with too few images, all unreadable images, or all rows that are not valid questions.
    """
    source = request.path
    classes = load_classes(_DOMAIN, request.limit_classes)
    files, folder = parquet_source.parquet_files(source, "test"), resolve(source)
    photos = None if is_hub_id(source) else _photos(folder, with_test=not files)
    if photos is None and not files:
        raise FileNotFoundError(f"{folder} must hold {LAYOUT} of the Kaggle set, or parquet files from the hub")
    if not files:
        return _from_photos(photos or {}, folder, classes, request)
    return _from_questions(files, photos, folder, classes, request)


BUTTERFLIES = DataSource(
    open_butterflies,
    Origin(
        "Photographs of the Kaggle set Butterflies and Moths and, where used, questions of "
        "HAERAE-HUB/butterflies_and_moths_vqa (Apache-2.0). The photographs are third parties'.",
        "other",
    ),
)


def _from_photos(
    photos: "Photos", folder: Path, classes: Sequence[DrawnClass], request: DomainRequest
) -> ButterflyPhotoDomain:
    """Test images are chosen first; images with the same bytes are then never used for dev or training."""
    seed, count = request.seed, request.images_per_class
    wanted = {"test": count, "dev": count, "train": 1}
    taken: set[str] = set()
    chosen = {split: _choose(photos, folder, classes, split, many, seed, taken) for split, many in wanted.items()}
    _check_all(chosen, folder)
    paths = {split: _paths(split, images) for split, images in chosen.items()}
    asked = [
        question
        for split in ("test", "dev")
        for question in questions_on(paths[split], classes, split, seed, request.distractors)
    ]
    sources = {
        path: image
        for split, images in chosen.items()
        for class_id, found in images.items()
        for path, image in zip(paths[split][class_id], found, strict=True)
    }
    training = {class_id: names[0] for class_id, names in paths["train"].items()}
    return ButterflyPhotoDomain(
        list(classes), asked, training, lambda target: _bring(sources, target), dialect=request.dialect
    )


def _from_questions(
    files: Sequence[Path],
    photos: "Photos | None",
    folder: Path,
    classes: Sequence[DrawnClass],
    request: DomainRequest,
) -> ButterflyPhotoDomain:
    asked, book = butterfly_vqa.read(files, {key: thing for thing in classes for key in _labels(thing)}, _known())
    chosen: dict[str, dict[str, list[Path]]] = {"train": {}}
    if photos is not None:
        chosen["train"] = _choose(photos, folder, classes, "train", 1, request.seed, set(book.hashes.values()))
        _check_all(chosen, folder)
    paths = _paths("train", chosen["train"])
    training = {class_id: names[0] for class_id, names in paths.items()}
    sources = {training[class_id]: found[0] for class_id, found in chosen["train"].items()}

    def bring(target: Path) -> None:
        _bring(sources, target)
        book.bring({q.image for q in asked if q.image}, target)

    return ButterflyPhotoDomain(list(classes), asked, training, bring, dialect=request.dialect)


# -- the Kaggle set's folders

Photos = dict[str, dict[str, Path]]  # the folder of a class, by split and by the class's label


def _photos(root: Path, with_test: bool) -> Photos | None:
    """The folders of each split. None without ``train`` (and ``test``, if wanted)."""
    needed = ("train", "test") if with_test else ("train",)
    if not all((root / name).is_dir() for name in needed):
        return None
    known = {name: _labels_of_split(_FOLDERS[name]) for name in _FOLDERS}
    found = {split: list(_class_folders(root / folder)) for split, folder in _FOLDERS.items()}
    unknown = [
        folder for split, folders in found.items() for folder in folders if label_of(folder.name) not in known[split]
    ]
    if unknown:
        listed = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in unknown)
        raise ValueError(
            f"{root}: {len(unknown)} folder(s) of no known class: {listed}. If one is a known class by another name, "
            f"record it in {NAMES_FILE.relative_to(DATA.parent)} (fault renamed); otherwise remove it"
        )
    return {split: _by_class(folders, known[split]) for split, folders in found.items()}


def _by_class(folders: Iterable[Path], known: Mapping[str, str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        name = known[label_of(folder.name)]
        if name in found:
            raise ValueError(f"{folder} and {found[name].name} are both {name}; put their images into one folder")
        found[name] = folder
    return found


def _class_folders(split: Path) -> Iterator[Path]:
    if split.is_dir():
        yield from (path for path in visible(split.iterdir(), split) if path.is_dir())


def _choose(
    photos: Photos, root: Path, classes: Sequence[DrawnClass], split: str, count: int, seed: int, taken: set[str]
) -> dict[str, list[Path]]:
    """``count`` random images per class, none with a hash in ``taken``; adds their hashes to ``taken``."""
    chosen, short = {}, []
    for thing in classes:
        label = label_of(thing.name)
        if split == "dev" and label not in photos[split] and (not photos[split] or label in _missing(_FOLDERS[split])):
            continue  # no dev questions about this class; its row in `table` shows that
        rng = random.Random(f"{thing.class_id}/{split}/{seed}")
        chosen[thing.class_id] = _some(photos[split].get(label), root, count, rng, taken)
        if len(chosen[thing.class_id]) < count:
            short.append(f"{label} ({len(chosen[thing.class_id])})")
    if short:
        raise ValueError(
            f"{root / _FOLDERS[split]}: {count} different image(s) per class are needed that are not in another split; "
            f"too few in {len(short)}: {', '.join(short)}"
        )
    return chosen


def _some(folder: Path | None, root: Path, count: int, rng: random.Random, taken: set[str]) -> list[Path]:
    inside = [] if folder is None else visible(folder.iterdir(), folder)
    files = [path for path in inside if path.suffix.lower() in SUFFIXES]
    rng.shuffle(files)
    found: list[Path] = []
    for file in files:
        if len(found) == count:
            break
        check_image(root, file.relative_to(root).as_posix(), str(root))
        content = sha256(file)
        if content not in taken:
            taken.add(content)
            found.append(file)
    return found


def _check_all(chosen: Mapping[str, Mapping[str, Sequence[Path]]], root: Path) -> None:
    faults = []
    for file in (file for images in chosen.values() for files in images.values() for file in files):
        try:
            check_image_file(file)
        except ValueError as error:
            faults.append(f"  {file.relative_to(root)}: {error}")
    if faults:
        listed = "\n".join(faults)
        raise ValueError(f"{root}: {len(faults)} image(s) cannot be read:\n{listed}\nReplace or delete them")


def _paths(split: str, chosen: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    """Where the images will be in the domain's data folder."""
    return {
        class_id: [f"images/{split}/{class_id}-{number}{file.suffix.lower()}" for number, file in enumerate(files)]
        for class_id, files in chosen.items()
    }


def _bring(sources: Mapping[str, Path], target: Path) -> None:
    for path, source in sources.items():
        bring_image(source, target / path)


# -- names


def _labels(thing: DrawnClass) -> list[str]:
    """The names of a class in the set, including those of renamed folders."""
    label = label_of(thing.name)
    return [label, *(label_of(row["folder"]) for row in _faults("renamed") if row["correction"] == label)]


def _known() -> frozenset[str]:
    """The labels of all hundred classes."""
    return frozenset(label for thing in load_classes(_DOMAIN) for label in _labels(thing))


def _labels_of_split(folder: str) -> dict[str, str]:
    """The class's label, by every name that it has in a split."""
    names = {label_of(thing.name): label_of(thing.name) for thing in load_classes(_DOMAIN)}
    renamed = {
        label_of(row["folder"]): row["correction"] for row in _faults("renamed") if row["split"] in (folder, "all")
    }
    return names | renamed


def _missing(folder: str) -> set[str]:
    """The classes known to be missing from a split."""
    return {row["folder"] for row in _faults("missing") if row["split"] in (folder, "all")}


def _faults(kind: str) -> list[dict[str, str]]:
    return [row for row in unknown_names() if row["fault"] == kind]


@cache
def unknown_names() -> tuple[dict[str, str], ...]:
    """The rows of ``data/butterfly_names.csv``; faults are renamed, missing and ambiguous."""
    return tuple(read_csv_rows(NAMES_FILE))
