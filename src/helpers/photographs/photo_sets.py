"""A set of photographs by class, brought by the user: a folder per class, or a data set of the hub.

- a folder: ``<class>/*.jpg``, or ``train|valid|test/<class>/*.jpg``, which are read together, since whole classes are
  held out here (Kaggle's 100 butterflies, Flowers-102, CUB-200, one's own). ``names.json`` beside them, such as
  Flowers-102's ``cat_to_name.json``, renames folders; ``attribution.csv`` (`helpers.domains.commons`) gives licences.
- ``ceyda/smithsonian_butterflies`` (CC0): parquet with the picture, its names and its taxonomy.
- ``imageomics/VLM4Bio`` (CC BY 4.0), or ``imageomics/VLM4Bio:Fish``: pictures in folders, tables of species and traits.
- ``ddehun/k-viscuit``, or a clone of its repository: the questions of type 1, with their own four options.

A hub id is fetched once; a folder that holds the same files in the published form is read in the same way.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from helpers.domains import parquet_source
from helpers.domains.commons import ATTRIBUTION, read_attribution
from helpers.domains.findings import Findings
from helpers.domains.kviscuit import ANNOTATIONS, load_kviscuit
from helpers.images import NEAR, SUFFIXES, check_image_file, perceptual_hash
from helpers.paths import RUNS, atomic_write, file_name, is_hub_id, resolve, visible
from helpers.photographs.class_texts import Attributes, ClassTexts, plain_name, read_class_texts
from helpers.rows import read_csv_rows
from helpers.workflow.progress import watched
from helpers.workflow.provenance import sha256

FEWEST_CLASSES = 8  # four to learn from, four to choose from
_SPLITS = ("train", "valid", "val", "validation", "test")
_NOTES = 20  # said at most, of each kind
_NAME_FILES = ("names.json", "cat_to_name.json")
VLM4BIO_GROUPS = ("Fish", "Bird", "Butterfly")


@dataclass
class Photographs:
    """Photographs by class. ``licences`` by file; a photograph without one is never shown in anything published.

    ``options`` by file, where the set asks questions of its own: the names to choose from, the right one first.
    """

    name: str
    files: dict[str, list[Path]]  # by the class's name
    texts: dict[str, Attributes] = field(default_factory=dict)  # what the set itself says about a class
    licences: dict[Path, str] = field(default_factory=dict)
    options: dict[Path, tuple[str, ...]] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        return list(self.files)

    def all_files(self) -> list[Path]:
        return [file for files in self.files.values() for file in files]

    def labels(self) -> np.ndarray:
        """The class of each of `all_files`, as an index into `classes`."""
        return np.repeat(np.arange(len(self.files)), [len(files) for files in self.files.values()])


def read_photographs(source: str, findings: Findings, licence: str | None = None) -> Photographs:
    """Read a folder or a data set of the hub; what cannot be used goes into ``findings``."""
    name, _, group = str(source).partition(":") if "VLM4Bio" in str(source) else (str(source), "", "")
    folder = _fetched(name) if is_hub_id(name) else resolve(name)
    if not folder.is_dir():
        findings.problem(str(source), None, "is no folder", "give a folder with a folder per class, or a hub id")
        return Photographs(str(source), {})
    if any((folder / "datasets" / known).is_dir() for known in VLM4BIO_GROUPS):
        return _vlm4bio(folder, group or None, findings)
    tables = parquet_source.parquet_files(name, "train") or parquet_source.parquet_files(name, "test")
    if any((folder / place / ANNOTATIONS).is_file() for place in (".", "dataset")) or (
        tables and "question_type" in parquet_source.columns(tables)
    ):
        return _kviscuit(name, findings)
    if tables:
        return _smithsonian(name, findings)
    return _from_folders(folder, findings, licence)


def _fetched(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    repository, _, revision = name.partition("@")
    with suppress(Exception):  # without a network there may be a copy on this machine
        about = HfApi().dataset_info(repository, revision=revision or None, files_metadata=True)
        size = sum(file.size or 0 for file in about.siblings or [])
        print(f"{name}: {size / 1e9:.1f} GB, of which only what is not on this machine yet is fetched", flush=True)
    try:
        return Path(snapshot_download(repository, repo_type="dataset", revision=revision or None))
    except Exception as error:  # from the network, the hub or the disk: dozens of types
        raise ValueError(
            f"{name}: there is no such folder here, and it could not be fetched from the hub ({type(error).__name__}: "
            f"{error}). Correct the folder, or fetch the data set where there is a network (HF_HUB_OFFLINE=0)"
        ) from error


# ---- a folder per class ----------------------------------------------------------------------------------------------


def _from_folders(folder: Path, findings: Findings, licence: str | None) -> Photographs:
    splits = [folder / name for name in _SPLITS if (folder / name).is_dir()]
    names = _names(folder, findings)
    files: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(path for top in splits or [folder] for path in visible(top.iterdir(), top) if path.is_dir()):
        inside = visible(path.rglob("*"), path)
        found = [file for file in inside if file.suffix.lower() in SUFFIXES and file.is_file()]
        outside = [file for file in found if not file.resolve().is_relative_to(folder.resolve())]
        if outside:
            where = outside[0].relative_to(folder).as_posix()
            findings.problem(where, None, "leads out of the folder by a link", "put a copy there instead")
        if not found:
            findings.note(f"{path.name}/", None, "holds no picture and is left out")
        files[names.get(path.name, _class_name(path.name))] += found
    given = {folder / row.file: row.licence for row in read_attribution(folder)} if splits == [] else {}
    licences = {file: licence for some in files.values() for file in some} if licence else given
    _check_licence(licence, folder, findings)
    return Photographs(folder.name, {name: some for name, some in sorted(files.items()) if some}, {}, licences)


def _class_name(folder: str) -> str:
    """The folder 001.Black_footed_Albatross is the class "Black footed Albatross", and RED ADMIRAL is "Red Admiral"."""
    name = re.sub(r"^\d+\.", "", folder).replace("_", " ")
    return name.title() if name.isupper() else name


def _names(folder: Path, findings: Findings) -> dict[str, str]:
    path = next((folder / name for name in _NAME_FILES if (folder / name).is_file()), None)
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        findings.problem(path.name, None, f"not readable as JSON ({error})", '{"folder": "name of the class", ...}')
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
        findings.problem(path.name, None, "is no table of names", '{"folder": "name of the class", ...}')
        return {}
    return content


def _check_licence(licence: str | None, folder: Path, findings: Findings) -> None:
    if licence is None and not (folder / ATTRIBUTION).is_file():
        findings.note(folder.name, None, "no licence is given: tables and figures are published, photographs are not")


# ---- data sets of the hub --------------------------------------------------------------------------------------------


def _smithsonian(source: str, findings: Findings) -> Photographs:
    """The class is the common name or, without one, the scientific name; the texts are what the metadata says."""
    files = parquet_source.parquet_files(source, "train")
    kinds = parquet_source.columns(files)
    wanted = [name for name in ("image", "name", "scientific_name", "taxonomy", "region") if name in kinds]
    if "image" not in wanted or not {"name", "scientific_name"} & set(wanted):
        findings.problem(
            str(source), None, f"has the columns {', '.join(kinds)}", "image, and name or scientific_name, are needed"
        )
        return Photographs(str(source), {})
    target = RUNS / "photographs" / "hub" / file_name(str(source).replace("/", "-"))
    found: dict[str, list[Path]] = defaultdict(list)
    texts: dict[str, Attributes] = {}
    for place, row in parquet_source.iterate_parquet(files, wanted):
        where, name = parquet_source.where(files, place), _first(row.get("name"), row.get("scientific_name"))
        try:
            content = parquet_source.image_bytes(row["image"], where) if name else b""
        except ValueError:
            content = b""
        if not content:
            findings.note(where, None, "has no name or no picture and is left out")
            continue
        found[name].append(_written(content, target / file_name(plain_name(name)), where))
        texts.setdefault(name, _of_taxonomy(row))
    licences = {file: "CC0" for some in found.values() for file in some}
    return Photographs(Path(str(source)).name, dict(sorted(found.items())), texts, licences)


def _kviscuit(source: str, findings: Findings) -> Photographs:
    """The class is the right option of a photograph's question of type 1. No licence covers all photographs."""
    try:
        data = load_kviscuit(source)
    except (ValueError, FileNotFoundError) as error:
        findings.problem(source, None, str(error), "fetch the data set again")
        return Photographs(source, {})
    target = RUNS / "photographs" / "hub" / "k-viscuit"
    files: dict[str, list[Path]] = defaultdict(list)
    options = {}
    for question in data.questions:
        if question.question_type == 1:
            file = target / str(question.image)
            files[question.right_option].append(file)
            options[file] = tuple(sorted(question.options, key=lambda option: option != question.right_option))
    data.bring([file.relative_to(target).as_posix() for file in options], target)
    return Photographs("k-viscuit", dict(sorted(files.items())), options=options)


def _first(*values: Any) -> str:
    return next((" ".join(str(value).split()) for value in values if value and str(value).strip()), "")


def _written(content: bytes, folder: Path, where: str) -> Path:
    ending = parquet_source.suffix(parquet_source.image_format(content, where))
    path = folder / f"{parquet_source.digest(content)[:16]}{ending}"
    if not path.is_file():
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    return path


def _of_taxonomy(row: Mapping[str, Any]) -> Attributes:
    ranks = [rank.strip() for rank in str(row.get("taxonomy") or "").split(",") if rank.strip()]
    after = ranks[ranks.index("Lepidoptera") + 1 :] if "Lepidoptera" in ranks else ranks[-2:]
    found = {
        "family": f"of the {' and '.join(after)}" if after else "",
        "scientific name": _first(row.get("scientific_name")),
        "region": f"found in {_first(row.get('region'))}" if _first(row.get("region")) else "",
    }
    return {attribute: [words] for attribute, words in found.items() if words}


def _vlm4bio(folder: Path, group: str | None, findings: Findings) -> Photographs:
    """Species by file name in ``metadata/*metadata_10k.csv``; for fish the visible traits are a table too."""
    there = [name for name in VLM4BIO_GROUPS if (folder / "datasets" / name).is_dir()]
    if group is not None and group not in there:
        findings.problem(
            f"{folder.name}:{group}", None, f"holds {', '.join(there)}", "name one of them after the colon"
        )
        return Photographs(folder.name, {})
    group = group or there[-1]
    top = folder / "datasets" / group
    tables = sorted(top.glob("metadata/*metadata_10k.csv")) or sorted(top.glob("metadata/metadata.csv"))
    images = {path.name: path for path in visible(top.rglob("*"), top) if path.suffix.lower() in SUFFIXES}
    if not tables or not images:
        lacks = "no pictures (those of birds are fetched from CUB-200)" if tables else "no metadata/metadata_10k.csv"
        findings.problem(
            top.relative_to(folder).as_posix(), None, f"has {lacks}", "fetch the data set whole, as its card says"
        )
        return Photographs(folder.name, {})
    files: dict[str, list[Path]] = defaultdict(list)
    for row in read_csv_rows(tables[0]):
        image = images.get(row.get("fileNameAsDelivered", ""))
        if image is not None and row.get("scientificName"):
            files[row["scientificName"]].append(image)
    licences = {file: "CC BY 4.0" for some in files.values() for file in some}
    return Photographs(f"VLM4Bio-{group}", dict(sorted(files.items())), _traits(top), licences)


def _traits(top: Path) -> dict[str, Attributes]:
    """Each trait that most of a species' pictures have, or have not."""
    path = next(iter(sorted(top.glob("metadata/processed_identification*.csv"))), None)
    if path is None:
        return {}
    shares: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in read_csv_rows(path):
        for trait, value in row.items():
            if trait not in ("fileNameAsDelivered", "scientificName") and value in ("0", "1", "0.0", "1.0"):
                shares[row["scientificName"]][trait].append(float(value))
    return {
        species: {
            trait: [f"{'with' if np.mean(values) >= 0.5 else 'without'} {trait}"] for trait, values in traits.items()
        }
        for species, traits in shares.items()
    }


def read_and_check(
    source: str,
    texts: str | None = None,
    licence: str | None = None,
    per_class: int | None = None,
    memory: Path | None = None,
    say: Callable[[str], None] = print,
) -> tuple[Photographs, ClassTexts | None]:
    """Photographs and texts, after every check. Raises ``ValueError``, which lists all problems; notes are said.

    ``per_class``: photographs per class at most, the first by name.
    """
    findings = Findings()
    said = None if texts is None else read_class_texts(texts, findings)
    found = read_photographs(source, findings, licence)
    if per_class is not None:
        if per_class < 1:
            raise ValueError(f"per_class is {per_class}; it must be at least 1, or None for all photographs")
        found = replace(found, files={name: files[:per_class] for name, files in found.files.items()})
    found = check_photographs(found, said, findings, memory) if not findings.problems else found
    for note in findings.notes[:_NOTES]:
        say(f"NOTE    {note}")
    if len(findings.notes) > _NOTES:
        say(f"NOTE    and {len(findings.notes) - _NOTES} more of these")
    if findings.problems:
        listed = "\n".join(f"  {problem}" for problem in findings.problems[:_NOTES])
        raise ValueError(f"{source}: {len(findings.problems)} problem(s), nothing was computed:\n{listed}")
    return found, said


# ---- checks ----------------------------------------------------------------------------------------------------------


def check_photographs(
    found: Photographs, texts: ClassTexts | None, findings: Findings, memory: Path | None = None
) -> Photographs:
    """The photographs that can be used, after every check; what was found goes into ``findings``.

    Broken pictures are problems. A copy of an earlier photograph, also a scaled or recompressed one, is left out; the
    same file in two classes is a problem, since it cannot show both. Classes without a text are left out. A class with
    one photograph stays: it is recognised by its text, but is never tested by example. ``memory``: a file that keeps
    the hashes of photographs checked before, by content.
    """
    hashes = _readable(found, findings, memory)
    copies = _copies(found, hashes, findings)
    kept: dict[str, list[Path]] = {}
    for name, files in found.files.items():
        if texts is not None and not texts.of(name) and not found.texts.get(name):
            near = texts.near(name)
            remedy = f"did you mean {near!r}?" if near else f"add it to {texts.source}"
            findings.note(name, None, "has no text and is left out", remedy)
            continue
        kept[name] = [file for file in files if file in hashes and file not in copies]
    single = [name for name, files in kept.items() if len(files) == 1]
    if single:
        said = ", ".join(single[:5]) + (f" and {len(single) - 5} more" if len(single) > 5 else "")
        findings.note(found.name, None, f"{len(single)} class(es) with one photograph: {said}", "no example from these")
    kept = {name: files for name, files in kept.items() if files}
    if len(kept) < FEWEST_CLASSES and not findings.problems:
        rule = f"has {len(kept)} classes with photographs and texts; at least {FEWEST_CLASSES} are needed"
        findings.problem(found.name, None, rule, "half of them are learned from, the others are recognised")
    return replace(found, files=kept)


_Hash = tuple[str, int | None]  # of the content, and of the appearance (None: too flat)


def _readable(found: Photographs, findings: Findings, memory: Path | None) -> dict[Path, _Hash]:
    """The hashes of each readable file."""
    known: dict[str, int | None] = _remembered(memory)
    before, hashes = len(known), {}
    for file in watched(found.all_files(), "check of photograph"):
        try:
            content = sha256(file)
            if content not in known:
                check_image_file(file)
                known[content] = perceptual_hash(file)
            hashes[file] = (content, known[content])
        except (ValueError, FileNotFoundError) as error:
            findings.problem(f"{file.parent.name}/{file.name}", None, _reason(error, file), "replace or delete it")
    if memory is not None and len(known) > before:
        with atomic_write(memory) as temporary:
            temporary.write_text(json.dumps(known), encoding="utf-8")
    return hashes


def _remembered(memory: Path | None) -> dict[str, int | None]:
    if memory is None or not memory.is_file():
        return {}
    with suppress(ValueError):  # not readable: all are checked again
        return dict(json.loads(memory.read_text(encoding="utf-8")))
    return {}


def _reason(error: Exception, file: Path) -> str:
    return str(error).removeprefix(f"{file}: ").removesuffix("; replace the file")


def _copies(found: Photographs, hashes: Mapping[Path, _Hash], findings: Findings) -> set[Path]:
    """The later of two photographs that are the same or nearly so."""
    files = [file for file in found.all_files() if file in hashes]
    owner = {file: name for name, some in found.files.items() for file in some}
    copies: set[Path] = set()
    for later, earlier in _near_pairs(files, hashes):
        if earlier in copies or later in copies:
            continue
        copies.add(later)
        where, other = (f"{owner[file]}/{file.name}" for file in (later, earlier))
        if hashes[later][0] == hashes[earlier][0] and owner[later] != owner[earlier]:
            remedy = "delete it where it does not belong"
            findings.problem(where, None, f"is the same picture as {other}, of another class", remedy)
        else:
            findings.note(where, None, f"is nearly the same picture as {other} and is left out")
    return copies


def _near_pairs(files: Sequence[Path], hashes: Mapping[Path, _Hash]) -> Iterable[tuple[Path, Path]]:
    """(later, earlier). All against all: with 10,000 photographs 50 million comparisons of 64 bits, a second or two."""
    values = np.array([hashes[file][1] or 0 for file in files], dtype=np.uint64)
    usable = np.array([hashes[file][1] is not None for file in files], dtype=bool)
    seen: dict[str, Path] = {}
    for place, file in enumerate(files):
        content = hashes[file][0]
        if content in seen:
            yield file, seen[content]
            continue
        seen[content] = file
        if usable[place] and place:
            near = np.bitwise_count(values[:place] ^ values[place]) <= NEAR
            for earlier in np.flatnonzero(near & usable[:place]):
                yield file, files[int(earlier)]
