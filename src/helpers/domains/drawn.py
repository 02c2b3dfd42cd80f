"""The drawn domains: real classes with stylised looks and real facts, from one table per domain in `data/`.

Images are drawn on demand, in any number. Those of the training set, the test questions and the dev questions come from
different random streams and never repeat.
"""

import random
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL.Image import Image
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_flow

from helpers.config.data import Distractors
from helpers.domains import retention
from helpers.domains.interface import DataSource, Domain, DomainRequest, Origin, Subject
from helpers.rows import read_csv_rows
from helpers.schemas import ClassText, Question, shuffled_question
from helpers.synthetic import language as say
from helpers.synthetic.appearances import FACTS_TABLES, VOCABULARIES, Appearance
from helpers.synthetic.dialects import tell
from helpers.synthetic.drawing import draw


@dataclass(frozen=True)
class DrawnClass:
    """A row of the table: the class's name, its look and what is known about it."""

    domain: str
    class_id: str
    name: str
    category: str
    appearance: Appearance
    facts: dict[str, str]


@dataclass(frozen=True)
class TableDomain(Domain):
    """A domain whose classes are rows of a facts table, whatever its images are."""

    classes: list[DrawnClass]
    dialect: str = field(default="captions", kw_only=True)

    @abstractmethod
    def training_image(self, thing: DrawnClass) -> str | None:
        """The path of a class's training image; None if there is none."""

    def class_info(self) -> list[Subject]:
        aliases = scientific_names()
        return [
            Subject(
                domain=thing.domain,
                class_id=thing.class_id,
                name=thing.name,
                called=say.subject(thing.domain, thing.name),
                category=thing.category,
                appearance=thing.appearance,
                facts=thing.facts,
                aliases=aliases.get(thing.class_id, ()) if thing.domain == "butterfly" else (),
                image=self.training_image(thing),
                prompt=thing.domain,
            )
            for thing in self.classes
        ]

    def offline_texts(self, wordings: int) -> list[ClassText]:
        """The table as sentences in the domain's dialect, never in the held-out wording, which the test uses."""
        return [text for thing in self.classes for text in self._texts(thing, wordings)]

    def _texts(self, thing: DrawnClass, wordings: int) -> Iterator[ClassText]:
        appearances, backgrounds = say.training_wordings(say.DESCRIPTIONS[thing.domain]), say.BACKGROUNDS[thing.domain]
        if wordings > len(appearances):
            raise ValueError(f"wordings_per_class is {wordings}; the offline writer has {len(appearances)} wordings")
        for wording in range(wordings):
            yield ClassText(
                class_id=thing.class_id,
                name=say.subject(thing.domain, thing.name),
                domain=thing.domain,
                appearance=self._appearance(thing, wording),
                background=say.background(thing.domain, thing.facts, wording % len(backgrounds)),
                wording=wording,
                writer="offline",
                image=self.training_image(thing),
                facts=thing.facts,
            )

    def _appearance(self, thing: DrawnClass, wording: int) -> str:
        if self.dialect == "captions":
            return say.describe(thing.domain, thing.appearance, wording)
        rng = random.Random(f"{thing.class_id}/{self.dialect}/{wording}")
        return tell(thing.domain, thing.appearance, self.dialect, rng)


@dataclass(frozen=True)
class DrawnDomain(TableDomain):
    """A drawn world: images are made here, one per class for training, others for the test and dev questions."""

    images_per_class: int
    image_size: int
    seed: int
    distractors: str = "random"

    def table(self) -> list[dict[str, Any]]:
        return [{"name": c.name, "category": c.category, **c.appearance, **c.facts} for c in self.classes]

    def training_image(self, thing: DrawnClass) -> str | None:
        return image_path("train", thing)

    def bring_images(self, folder: Path) -> None:
        for split, count in (("train", 1), ("test", self.images_per_class), ("dev", self.images_per_class)):
            save_images(self.classes, split, count, folder, self.image_size, self.seed)
        retention.save_retention_images(self._retention(), folder, self.image_size, self.seed)

    def questions(self) -> list[Question]:
        return [
            question
            for split in ("test", "dev")
            for question in drawn_questions(self.classes, split, self.images_per_class, self.seed, self.distractors)
        ]

    def retention_questions(self) -> list[Question]:
        return [asked.question for asked in self._retention()]

    def _retention(self) -> list[retention.RetentionExercise]:
        return retention.asked(self.classes[0].domain, self.seed)


def open_drawn(request: DomainRequest) -> DrawnDomain:
    """The drawn domain of that name."""
    return DrawnDomain(
        load_classes(request.domain, request.limit_classes),
        request.images_per_class,
        request.image_size,
        request.seed,
        distractors=request.distractors,
        dialect=request.dialect,
    )


DRAWN = DataSource(
    open_drawn,
    Origin("Pictures, texts and questions drawn from a facts table of this project.", "cc-by-4.0"),
    tables=FACTS_TABLES,
    labels={"butterfly": "Butterfly", "culture": "Korean culture"},
)


def scientific_names() -> dict[str, tuple[str, ...]]:
    """By class: they give a butterfly away just as its name does."""
    return {row["class_id"]: (row["scientific_name"],) for row in read_csv_rows(FACTS_TABLES["butterfly"])}


def load_classes(domain: str, limit: int | None = None) -> list[DrawnClass]:
    """The classes of a drawn domain, in the table's order, only the first ``limit``.

    Raises ``ValueError`` for an unknown domain, or for a value outside the vocabulary, naming the class.
    """
    if domain not in FACTS_TABLES:
        raise ValueError(f"domain is {domain!r}; the drawn domains are {', '.join(FACTS_TABLES)}")
    return [_read_class(domain, row) for row in read_csv_rows(FACTS_TABLES[domain])][:limit]


def _read_class(domain: str, row: dict[str, str]) -> DrawnClass:
    vocabulary = VOCABULARIES[domain]
    appearance = {part: row[part] for part in vocabulary.parts}
    facts = {fact: row[fact] for fact in vocabulary.facts}
    try:
        vocabulary.check(appearance)
        vocabulary.check_facts(facts)
    except ValueError as error:
        raise ValueError(f"{FACTS_TABLES[domain].name}, class {row['class_id']!r}: {error}") from None
    return DrawnClass(domain, row["class_id"], row["name"], row.get("category") or row["family"], appearance, facts)


def image_path(split: str, thing: DrawnClass, number: int = 0) -> str:
    """Where a drawn image is, relative to the domain's data folder."""
    return f"images/{split}/{thing.class_id}-{number}.png"


def draw_image(thing: DrawnClass, split: str, number: int, size: int, seed: int) -> Image:
    """One image of a class; split, number and seed determine pose, light and background."""
    return draw(thing.domain, thing.appearance, random.Random(f"{thing.class_id}/{split}/{number}/{seed}"), size)


def save_images(classes: Iterable[DrawnClass], split: str, count: int, folder: Path, size: int, seed: int) -> None:
    """Draw ``count`` images per class into ``folder``."""
    (folder / "images" / split).mkdir(parents=True, exist_ok=True)
    for thing in classes:
        for number in range(count):
            draw_image(thing, split, number, size, seed).save(folder / image_path(split, thing, number))


def drawn_questions(
    classes: Sequence[DrawnClass], split: str, images: int, seed: int, distractors: str = "random"
) -> Iterator[Question]:
    """One type-1 and one type-2 question per drawn image; see `questions_on`."""
    shown = {thing.class_id: [image_path(split, thing, number) for number in range(images)] for thing in classes}
    return questions_on(shown, classes, split, seed, distractors)


def questions_on(
    images: Mapping[str, Sequence[str]], classes: Sequence[DrawnClass], split: str, seed: int, distractors: str
) -> Iterator[Question]:
    """One type-1 and one type-2 question per image, in held-out wordings, with the options in random order.

    ``images``: the paths of each class's images, by class id. A class without images is not asked about, but may be a
    wrong option. Raises ``ValueError`` for fewer than four classes, more images than facts, or unknown ``distractors``.
    """
    _check(images, classes, distractors)
    rng = random.Random(f"questions/{split}/{seed}")
    values = _fact_options(classes, [len(images.get(thing.class_id, ())) for thing in classes], rng)
    for thing, options in zip(classes, values, strict=True):
        paths = images.get(thing.class_id, ())
        for number, (path, (fact, four)) in enumerate(zip(paths, options.items(), strict=True)):
            names = wrong_names(thing, classes, distractors, rng)
            asked = {"split": split, "number": number, "image": path}
            yield _naming_question(thing, names, rng, **asked)
            yield _fact_question(thing, fact, four, rng, **asked)


def _fact_options(
    classes: Sequence[DrawnClass], counts: Sequence[int], rng: random.Random
) -> list[dict[str, tuple[str, ...]]]:
    """For each class, which ``counts`` facts it is asked for, and the four options of each.

    Half of the butterflies live in forests, so a wrong option drawn at random is a worse guess than a right one. Here
    classes are asked in fours: four with different values of the fact, each with the same options, namely those
    values. Each option is then right once, and whatever does not look at the image, a prior or a model shown no image,
    is right in one of four. Where the values of a fact are too uneven for that (more than two or three images per
    class), some groups are smaller, and further options are the values of other classes, chosen at random.
    """
    facts: list[dict[str, tuple[str, ...]]] = [{} for _ in classes]
    for fact, asked in _asked_facts(classes, counts, rng).items():
        valued = sorted(asked, key=lambda i: classes[i].facts[fact])  # dealt out, so that equal values part
        most = max(Counter(classes[i].facts[fact] for i in valued).values())
        groups = max(most, -(-len(valued) // 4))
        for group in (valued[start::groups] for start in range(groups)):
            own = [classes[i].facts[fact] for i in group]
            others = rng.sample([thing.facts[fact] for thing in classes], k=len(classes))
            more = (*others, *VOCABULARIES[classes[0].domain].facts[fact])  # few classes may share few values
            options = tuple(dict.fromkeys((*own, *more)))[:4]
            for i in group:
                facts[i][fact] = options
    return facts


def _asked_facts(classes: Sequence[DrawnClass], counts: Sequence[int], rng: random.Random) -> dict[str, list[int]]:
    """By fact, the classes (as indices, in random order) that are asked for it: no value in more than a quarter.

    A maximum flow from classes by way of their values to facts, each value bounded by the number of groups of four;
    where that does not reach, the bound is raised.
    """
    names = rng.sample(list(classes[0].facts), k=len(classes[0].facts))
    order = rng.sample(range(len(classes)), k=len(classes))
    values = sorted({(fact, thing.facts[fact]) for thing in classes for fact in names})
    rng.shuffle(values)
    place = {node: number for number, node in enumerate(["source", *order, *values, *names, "sink"])}
    wanted = sum(counts)
    edges: list[tuple[Any, Any, int]] = [("source", i, counts[i]) for i in order]
    edges += [(i, (fact, classes[i].facts[fact]), 1) for i in order for fact in names]
    for groups in range(-(-wanted // (4 * len(names))), len(classes) + 1):
        bounds = [(value, value[0], groups) for value in values] + [(fact, "sink", 4 * groups) for fact in names]
        rows, columns, capacities = zip(*((place[a], place[b], c) for a, b, c in edges + bounds), strict=True)
        graph = csr_matrix((np.array(capacities, np.int32), (rows, columns)), shape=(len(place), len(place)))
        found = maximum_flow(graph, place["source"], place["sink"])
        if found.flow_value == wanted:
            break
    flow = found.flow.toarray()
    taken = {fact: [i for i in order if flow[place[i], place[fact, classes[i].facts[fact]]] > 0] for fact in names}
    return {fact: asked for fact, asked in taken.items() if asked}


def _check(images: Mapping[str, Sequence[str]], classes: Sequence[DrawnClass], distractors: str) -> None:
    if distractors not in get_args(Distractors):
        raise ValueError(f"distractors is {distractors!r}; known: {', '.join(get_args(Distractors))}")
    if len(classes) < 4:
        raise ValueError(f"{len(classes)} classes; a question needs four options, so take at least four classes")
    most, facts = max(map(len, images.values()), default=0), len(say._FACTS[classes[0].domain])
    if most > facts:
        raise ValueError(
            f"{most} images per class: each asks for a different fact, and there are {facts}; at most {facts}"
        )


def wrong_names(thing: DrawnClass, classes: Sequence[DrawnClass], distractors: str, rng: random.Random) -> list[str]:
    """Three names of other classes: any, or those whose looks differ in the fewest parts; ties are broken at random."""
    others = [other for other in classes if other is not thing]
    others = rng.sample(others, k=3 if distractors == "random" else len(others))
    if distractors == "look_alike":
        others.sort(key=lambda other: differing_parts(thing.appearance, other.appearance))
    return [other.name for other in others[:3]]


def differing_parts(one: Appearance, other: Appearance) -> int:
    """The number of parts in which two looks of a domain differ."""
    return sum(value != other[part] for part, value in one.items())


def _naming_question(thing: DrawnClass, others: list[str], rng: random.Random, **asked: Any) -> Question:
    text = say.NAMING[thing.domain].asked[say.HELD_OUT]
    form = say.name_answer(thing.domain, "{option}")
    return _question(thing, 1, "name", text, form, [thing.name, *others], rng, **asked)


def _fact_question(thing: DrawnClass, fact: str, options: Sequence[str], rng: random.Random, **asked: Any) -> Question:
    right = thing.facts[fact]
    text = say.fact_question(thing.domain, fact, say.HELD_OUT)
    form = say.fact_answer(thing.domain, fact, "{option}")
    return _question(thing, 2, fact, text, form, [right, *(o for o in options if o != right)], rng, **asked)


def _question(
    thing: DrawnClass,
    kind: int,
    category: str,
    text: str,
    form: str,
    options: list[str],
    rng: random.Random,
    **asked: Any,
) -> Question:
    number = asked.pop("number")
    return shuffled_question(
        rng,
        options,
        domain=thing.domain,
        question_id=f"{thing.class_id}-{asked['split']}-{number}-type{kind}",
        question_type=kind,
        category=category,
        class_id=thing.class_id,
        question=text,
        answer_form=form,
        refers=say.subject(thing.domain),
        described=say.describe(thing.domain, thing.appearance, say.HELD_OUT),
        **asked,
    )
