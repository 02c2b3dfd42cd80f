"""What a text is worth in photographs, on public sets: makes the files of ``figures/photographs``.

    python benchmarks/bench_photographs.py CLONES [--work FOLDER] [--output figures/photographs]

CLONES holds clones of these repositories, which are read and never copied into this project, as none states a licence
that would allow it:

- NERC-CEH/irecord-butterflies-app (5520a49): photographs of British butterflies and moths, a field guide's words
- kibru9399/Image-classifier (c4503f1): Oxford's Flowers-102, the part with folders per class
- sarahpratt/CuPL (719619c): sentences about flowers by GPT-3
- sachit-menon/classify_by_description_release (d1a3d89), EliSchwartz/imagenet-sample-images (bc69043): one photograph
  and a few words for each of ImageNet's classes, none of which is a relative that was looked up

Links to the photographs and tables of the texts go to --work, and what is published to --output: rows, tables, figure.
"""

import argparse
import json
import re
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from helpers.domains.drawn import load_classes
from helpers.domains.spreadsheets import Findings
from helpers.paths import DATA, RUNS, resolve, resolve_output
from helpers.photographs.class_texts import (
    SENTENCES,
    Attributes,
    ClassTexts,
    listed,
    photo_sentences,
    plain_name,
    read_class_texts,
    split_sentences,
)
from helpers.photographs.embedding import DESCRIPTIONS, NAMES, Embedded, embed, without_each
from helpers.photographs.encoders import EFFICIENTNET, MINILM, image_encoder, sentence_encoder
from helpers.photographs.features import FeatureStore
from helpers.photographs.photo_sets import Photographs, check_photographs, read_photographs
from helpers.photographs.study import SetFeatures, Split, leave_one_out, photograph_rows
from helpers.photographs.text_only import TextLesson, text_only_rows
from helpers.results.figures.photographs import photographs_figure
from helpers.results.figures.style import save
from helpers.results.photographs import accuracy_by_class, accuracy_by_text, worth_table
from helpers.results.tables import write_csv
from helpers.rows import read_csv_rows, write_csv_rows
from helpers.synthetic import language as say

SPECIES = "irecord-butterflies-app/src/common/data/species"
NOT_ADULT = re.compile(r"immature|larva|pupa|egg|caterpillar|cocoon|mating|comparison", re.IGNORECASE)
EXAMPLES = {"butterflies": (1, 2, 3), "flowers": (1, 2, 4, 8, 16)}
SEEDS = range(20)


# ---- the sets --------------------------------------------------------------------------------------------------------


def british(clones: Path, work: Path) -> tuple[Path, Path]:
    """Folders of links to the photographs of adults, and a table of the field guide's words."""
    folder, rows = work / "butterflies", []
    for row in json.loads((clones / SPECIES / "cache/species.json").read_text(encoding="utf-8")):
        name = row["commonName"].strip()
        found = [p for part in ("photos", "photos-moth") for p in (clones / SPECIES / part / row["id"]).glob("*.jp*g")]
        adults = [path for path in sorted(found) if not NOT_ADULT.search(path.name)]
        copy_into(folder / name.replace("/", "-"), adults)
        words = {
            "noun": row["type"],
            "size": small(row.get("size", [])),
            "colour": small(row.get("colour", [])),
            "markings": f"with {small(row['markings'])}" if row.get("markings") else "",
            "tips": " ".join(row.get("idTips", "").split()),
        }
        if adults:
            rows.append({"name": name} | words)
    write_csv_rows(work / "butterflies.csv", rows)
    return folder, work / "butterflies.csv"


def flowers(clones: Path, work: Path, each: int = 20) -> tuple[Path, Path]:
    """The first ``each`` photographs of each class with sentences of CuPL, and these sentences."""
    texts = clones / "CuPL/all_prompts/full_prompts/flower_prompts_full.json"
    known = {plain_name(name) for name in json.loads(texts.read_text(encoding="utf-8"))}
    for number, name in json.loads((clones / "Image-classifier/cat_to_name.json").read_text(encoding="utf-8")).items():
        photographs = sorted((clones / "Image-classifier/flowers/train" / number).glob("*.jpg"))
        if photographs and plain_name(name) in known:
            copy_into(work / "flowers" / name, photographs[:each])
    return work / "flowers", texts


def imagenet(clones: Path) -> Photographs:
    """One photograph per class of ImageNet, and the words of classification by description."""
    words = json.loads(
        (clones / "classify_by_description_release/descriptors/descriptors_imagenet.json").read_text(encoding="utf-8")
    )
    known = {plain_name(name): name for name in words}
    files = {}
    for path in sorted((clones / "imagenet-sample-images").glob("*.JPEG")):
        name = known.get(plain_name(path.stem.partition("_")[2]))
        if name and words[name]:
            files[name] = [path]
    return Photographs("imagenet", files, {name: {SENTENCES: words[name]} for name in files})


def copy_into(folder: Path, photographs: Iterable[Path]) -> None:
    """Outside the project: a link would lead out of the folder, which is refused."""
    for path in photographs:
        target = folder / path.name
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def small(words: Iterable[str]) -> str:
    """The words in small letters, as "black, white and red"."""
    return listed(word.lower() for word in words)


# ---- the studies -----------------------------------------------------------------------------------------------------


class Study:
    """One set after another, with the features in one place; collects the rows of all."""

    def __init__(self, store: Path) -> None:
        self.images = FeatureStore(store, image_encoder(EFFICIENTNET))
        self.words = FeatureStore(store, sentence_encoder(MINILM))
        self.memory = store / "hashes.json"
        self.rows: list[pd.DataFrame] = []
        self.attributes: list[pd.DataFrame] = []

    def read(self, folder: Path, texts: Path) -> tuple[Photographs, ClassTexts]:
        findings = Findings()
        said = read_class_texts(str(texts), findings)
        found = check_photographs(read_photographs(str(folder), findings), said, findings, self.memory)
        for note in (*findings.notes, *findings.problems):
            print(f"  {note}")
        return found, said

    def embedded(self, found: Photographs, texts: ClassTexts | None, noun: str) -> Embedded:
        return embed(found, texts, self.images, self.words, noun)

    def compare(self, name: str, found: Photographs, said: ClassTexts, noun: str) -> None:
        """Every text, its control, photographs; each attribute left out; training on text alone."""
        embedded = self.embedded(found, said, noun)
        splits = [Split(embedded.features, seed) for seed in SEEDS]
        rows = photograph_rows(embedded.features, splits, EXAMPLES[name])
        self.rows.append(rows.assign(set=name))
        self.attributes.append(
            leave_one_out(
                splits, embedded.features.texts[DESCRIPTIONS], without_each(found, said, self.words, noun)
            ).assign(set=name)
        )
        lesson = TextLesson(embedded.features.texts[NAMES], embedded.sentences, embedded.owners)
        self.rows.append(text_only_rows(splits, lesson).assign(set=name))


def sixteen(study: Study, found: Photographs, guide: ClassTexts) -> None:
    """The paper's classes among the British ones: learned from the others, known by texts of several writers."""
    table = {plain_name(row["name"]): row for row in read_csv_rows(DATA / "butterflies.csv")}
    table |= {plain_name(british): table[plain_name(ours)] for ours, british in BY_ANOTHER_NAME.items()}
    mine = [number for number, name in enumerate(found.classes) if plain_name(name) in table]
    drawn = {thing.class_id: thing for thing in load_classes("butterfly")}
    writers = {
        "this project's sentences": lambda row: {
            SENTENCES: split_sentences(say.describe("butterfly", drawn[row["class_id"]].appearance, 0))
        },
        "what a photograph shows": photo_sentences,
    }
    embedded = study.embedded(found, guide, "butterfly")
    kinds = {kind: embedded.features.texts[kind] for kind in (NAMES, DESCRIPTIONS)}
    for writer, write in writers.items():
        said: dict[str, Attributes] = {
            plain_name(name): write(table[plain_name(name)]) if number in mine else guide.of(name)
            for number, name in enumerate(found.classes)
        }
        kinds[writer] = study.embedded(found, ClassTexts(writer, said, guide.nouns), "butterfly").features.texts[
            DESCRIPTIONS
        ]
    features = SetFeatures(embedded.features.images, embedded.features.labels, found.classes, kinds)
    splits = [Split(features, seed, unseen=mine) for seed in SEEDS]  # the classes are given; the inner split varies
    study.rows.append(photograph_rows(features, splits, (1,)).assign(set="sixteen"))


BY_ANOTHER_NAME = {
    "Adonis": "Adonis Blue",
    "Cabbage White": "Small White",
    "Checquered Skipper": "Chequered Skipper",
    "Cinnabar Moth": "Cinnabar",
    "Humming Bird Hawk Moth": "Humming-bird Hawk-moth",
    "Mourning Cloak": "Camberwell Beauty",
    "Sixspot Burnet Moth": "Six-spot Burnet",
}


def no_relatives(study: Study, found: Photographs, guide: ClassTexts) -> None:
    """The map learned on ImageNet's classes, all British species unseen; no butterfly of ImageNet is among the seen."""
    other = imagenet(CLONES["folder"])
    relatives = re.compile(
        r"butterfly|admiral|ringlet|monarch|cabbage white|sulphur|lycaenid|lacewing|moth\b", re.IGNORECASE
    )
    files = {name: some for name, some in other.files.items() if not relatives.search(name)}
    both = Photographs("no relatives", files | found.files, {name: other.texts[name] for name in files})
    short = {
        name: {kind: some for kind, some in said.items() if kind != "tips"} for name, said in guide.classes.items()
    }
    embedded = study.embedded(both, ClassTexts("attributes", short, guide.nouns), "thing")
    unseen = [number for number, name in enumerate(both.classes) if name in found.files]
    splits = [Split(embedded.features, seed, unseen=unseen) for seed in SEEDS]
    study.rows.append(photograph_rows(embedded.features, splits, ()).assign(set="no relatives"))


CLONES: dict[str, Path] = {}


def main() -> None:
    """Run all sets and write the tables and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clones", type=Path)
    parser.add_argument("--work", type=Path, default=RUNS / "photographs" / "public")
    parser.add_argument("--store", type=Path, default=RUNS / "photographs" / "features")
    parser.add_argument("--output", default="figures/photographs")
    given = parser.parse_args()
    CLONES["folder"] = clones = resolve(given.clones)
    study, started = Study(given.store), time.perf_counter()
    for name, folder, texts, noun in (
        ("butterflies", *british(clones, given.work), "butterfly"),
        ("flowers", *flowers(clones, given.work), "flower"),
    ):
        print(name)
        found, said = study.read(folder, texts)
        study.compare(name, found, said, noun)
        if name == "butterflies":
            sixteen(study, found, said)
            no_relatives(study, found, said)
        print(f"  {time.perf_counter() - started:.0f} s")
    publish(study, resolve_output(given.output))


def publish(study: Study, output: Path) -> None:
    """Write the tables and the figure; no photograph."""
    rows = pd.concat(study.rows, ignore_index=True)
    table = accuracy_by_text(rows)
    write_csv(table.round(1), output / "accuracy.csv")
    write_csv(worth_table(table).round(1), output / "worth.csv")
    write_csv(pd.concat(study.attributes).round(1), output / "attributes.csv")
    write_csv(accuracy_by_class(rows[rows["text"] == DESCRIPTIONS]).round(1), output / "classes.csv")
    save(photographs_figure(table), output, "photographs", table, [Path(__file__)])
    print(table.round(1).to_string())


if __name__ == "__main__":
    main()
