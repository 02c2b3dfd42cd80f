"""Your own classes: a folder with a table, and any images, texts and questions that you have.

What the folder lacks is made: texts from the columns of the table (or by another writer, see `helpers.writer`), type-1
questions from the names, type-2 questions from columns with at least four values. docs/own_classes.md describes the
folder; `helpers.domains.own_folder` reads and checks it.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.domains.interface import GENERIC_PROMPT, DataSource, Domain, DomainRequest, Origin, Subject
from helpers.domains.names import without_names
from helpers.domains.own_folder import read_folder
from helpers.domains.own_rows import OPTION_COLUMNS, OwnClass, OwnFolder, drawn_language
from helpers.images import bring_images
from helpers.paths import resolve
from helpers.schemas import ClassText, Question, shuffled_question
from helpers.synthetic import language as say
from helpers.synthetic.appearances import VOCABULARIES


@dataclass(frozen=True)
class OwnDomain(Domain):
    """A folder as a domain. All questions are test questions: a folder rarely has images to spare for a dev set."""

    source: OwnFolder
    classes: list[OwnClass]
    seed: int

    def table(self) -> list[dict[str, Any]]:
        return [
            {
                "name": c.name,
                "category": c.category,
                **c.appearance,
                **c.facts,
                "train": len(c.train),
                "test": len(c.test),
            }
            for c in self.classes
        ]

    def bring_images(self, folder: Path) -> None:
        shown = {question.image for question in self.questions() if question.image}
        trained = {name for thing in self.classes for name in thing.train}
        bring_images(shown | trained, self.source.folder, folder)

    def questions(self) -> list[Question]:
        """Those in questions.csv; types that it lacks are made from the table."""
        kept = {thing.class_id for thing in self.classes} | {None}
        given = [question for question in self.source.questions if question.class_id in kept]
        types = {question.question_type for question in self.source.questions}
        return given + [question for question in self._made_questions() if question.question_type not in types]

    def class_info(self) -> list[Subject]:
        return [
            Subject(
                domain=language,
                class_id=thing.class_id,
                name=thing.name,
                called=self.called(thing),
                category=thing.category,
                appearance=thing.appearance,
                facts=thing.facts,
                refers=_subject(thing),
                image=thing.train[0] if thing.train else None,
                asked=tuple(("test", image) for image in thing.test),
                prompt=language if language in VOCABULARIES else GENERIC_PROMPT,
            )
            for thing in self.classes
            for language in [self.source.language_of(thing.noun)]
        ]

    def called(self, thing: OwnClass) -> str:
        """The name as used in a sentence, such as "the Marsh Lantern"."""
        drawn, form = drawn_language(thing.noun), self.source.language.name_form
        if form:
            return form.format(name=thing.name)
        return say.subject(drawn, thing.name) if drawn else thing.name

    def without_text(self) -> list[OwnClass]:
        """The classes that need a writer for their texts."""
        has_text = {text.class_id for text in self.source.texts}
        return [thing for thing in self.classes if thing.class_id not in has_text]

    def own_texts(self) -> list[ClassText]:
        """The folder's texts, in the table's order; several rows of a class are several wordings."""
        return [
            _class_text(thing, wording, text.appearance, text.background, "own", self)
            for thing in self.classes
            for wording, text in enumerate(text for text in self.source.texts if text.class_id == thing.class_id)
        ]

    def offline_texts(self, wordings: int) -> list[ClassText]:
        """`own_texts`; for classes without any, the columns of the table in one plain wording."""
        return self.own_texts() + [_made_text(thing, self) for thing in self.without_text()]

    def _made_questions(self) -> Iterator[Question]:
        """One question of each type per test image; the options of an image depend only on the classes."""
        facts = self.source.facts_to_ask()
        for thing in self.classes:
            known = [fact for fact in facts if fact in thing.facts]
            random.Random(f"{thing.class_id}/{self.seed}").shuffle(known)
            for number, image in enumerate(thing.test):
                rng = random.Random(f"{image}/{self.seed}")
                if len(self.classes) >= OPTION_COLUMNS:
                    yield _naming_question(thing, image, rng, self)
                if known:
                    yield _fact_question(thing, known[number % len(known)], image, rng, self)


def open_own(request: DomainRequest) -> OwnDomain:
    """The folder as a domain; a relative path starts at the repository root.

    All its images are used, in their original size. Raises ``ValueError``, which lists every problem of the folder.
    """
    own = read_folder(resolve(request.path), request.domain)
    if own.findings.problems:
        listed = "\n".join(f"  {problem}" for problem in own.findings.problems)
        raise ValueError(f"{request.path} cannot be used, {len(own.findings.problems)} problem(s):\n{listed}")
    return OwnDomain(own, own.classes[: request.limit_classes], request.seed)


OWN = DataSource(open_own, Origin("A folder of the reader's own; its owner knows its licence.", "unknown"))


# ---- language ------------------------------------------------------------------------------------------------------


def _subject(thing: OwnClass) -> str | None:
    return f"this {thing.noun}" if thing.noun else None


def _of(fact: str, thing: OwnClass) -> str:
    return f"the {fact} of {_subject(thing)}" if thing.noun else f"its {fact}"


# ---- texts ---------------------------------------------------------------------------------------------------------


def _class_text(
    thing: OwnClass, wording: int, appearance: str, background: str, writer: str, own: OwnDomain
) -> ClassText:
    return ClassText(
        class_id=thing.class_id,
        name=own.called(thing),
        domain=own.source.language_of(thing.noun),
        appearance=without_names(appearance, thing.name, _subject(thing) or "this", own.source.names()),
        background=background,
        wording=wording,
        writer=writer,
        image=thing.train[wording % len(thing.train)] if thing.train else None,
    )


def _made_text(thing: OwnClass, own: OwnDomain) -> ClassText:
    """Columns as sentences. Without a ``look:`` column, the appearance is unknown and recognition cannot be learned."""
    appearance = [say.capitalise(f"{_of(part, thing)} is {value}.") for part, value in thing.appearance.items()]
    background = [_fact_sentence(fact, value, thing) for fact, value in thing.facts.items()]
    unknown = f"What {_subject(thing) or 'this'} looks like is not written down."
    nothing = "Nothing more is written down."
    return _class_text(thing, 0, " ".join(appearance) or unknown, " ".join(background) or nothing, "offline", own)


def _fact_sentence(fact: str, value: str, thing: OwnClass) -> str:
    drawn = drawn_language(thing.noun)
    if drawn and fact in say._FACTS[drawn]:
        return say.capitalise(say.fact_answer(drawn, fact, value))
    return f"Its {fact} is {value}."


# ---- questions -----------------------------------------------------------------------------------------------------


def _naming_question(thing: OwnClass, image: str, rng: random.Random, own: OwnDomain) -> Question:
    others = rng.sample([other.name for other in own.classes if other is not thing], k=OPTION_COLUMNS - 1)
    language, drawn = own.source.language, drawn_language(thing.noun)
    asked, form = "What do people call this?", "This is {option}."  # not a wording of training
    if drawn:
        asked, form = say.NAMING[drawn].asked[say.HELD_OUT], say.name_answer(drawn, "{option}")
    elif thing.noun:
        asked = f"Which {thing.noun} is this?"
    asked, form = language.naming_question or asked, language.naming_answer or form
    return _question(thing, 1, "name", asked, form, [thing.name, *others], image, rng, own)


def _fact_question(thing: OwnClass, fact: str, image: str, rng: random.Random, own: OwnDomain) -> Question:
    """The wrong options are other classes' values in that column; values that differ only in case count as equal."""
    right, language, drawn = thing.facts[fact], own.source.language, drawn_language(thing.noun)
    values = {c.facts[fact].casefold(): c.facts[fact] for c in own.source.classes if fact in c.facts}
    others = rng.sample(sorted(value for key, value in values.items() if key != right.casefold()), k=OPTION_COLUMNS - 1)
    asked, form = f"What is {_of(fact, thing)}?", say.capitalise(f"{_of(fact, thing)} is {{option}}.")
    if drawn and fact in say._FACTS[drawn]:
        asked, form = say.fact_question(drawn, fact, say.HELD_OUT), say.fact_answer(drawn, fact, "{option}")
    asked, form = language.fact_questions.get(fact, asked), language.fact_answers.get(fact, form)
    return _question(thing, 2, fact, asked, form, [right, *others], image, rng, own)


def _question(
    thing: OwnClass,
    question_type: int,
    category: str,
    asked: str,
    form: str,
    options: Sequence[str],
    image: str,
    rng: random.Random,
    own: OwnDomain,
) -> Question:
    return shuffled_question(
        rng,
        options,
        domain=own.source.language_of(thing.noun),
        question_id=f"{thing.class_id}/{Path(image).name}/type{question_type}",
        question_type=question_type,
        category=category,
        class_id=thing.class_id,
        question=asked,
        image=image,
        split="test",
        answer_form=form,
        refers=_subject(thing),
    )
