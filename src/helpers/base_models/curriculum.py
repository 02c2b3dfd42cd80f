"""What the demo's base models learn: endless exercises in seeing and reading, all about invented classes.

Each exercise has a prompt, possibly an image, and an answer. After pretraining, a base model can describe an image,
answer questions about a description, recognise the invented classes by sight and by description, and use a name that it
reads for the first time. It has never seen a target class (see `helpers.synthetic.invented`).
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from PIL.Image import Image

from helpers.synthetic import language as say
from helpers.synthetic.appearances import VOCABULARIES, Appearance
from helpers.synthetic.dialects import tell
from helpers.synthetic.drawing import draw
from helpers.synthetic.invented import InventedClass, invent_classes, invent_name

DOMAINS = ("butterfly", "culture")
CLASSES = 200  # per domain, unless a lesson says otherwise

# Share of each exercise. Classes are named both by sight and by description, since a model that only ever named images
# could not get from a description to a name; facts are asked from image, text and name. Captions and paraphrases have
# the largest shares: they put every part of a look into the loss, whereas a question covers only one.
SHARES = {
    "caption": 0.30,
    "visual_question": 0.10,
    "visual_question_of_text": 0.05,
    "paraphrase": 0.08,
    "describe_by_name": 0.06,
    "tell_by_name": 0.05,
    "name_of_image": 0.08,
    "name_of_text": 0.10,
    "fact_of_image": 0.04,
    "fact_of_text": 0.04,
    "fact_of_name": 0.05,
    "reading": 0.05,
}
# The same exercises for a lesson in dialects, by weight: most of it is reading, and seeing is kept in practice.
READING_SHARES = SHARES | {
    "caption": 0.20,
    "visual_question": 0.06,
    "visual_question_of_text": 0.12,
    "paraphrase": 0.18,
    "name_of_text": 0.16,
    "describe_by_name": 0.04,
    "tell_by_name": 0.03,
}


@dataclass(frozen=True)
class Exercise:
    """One question and its answer; ``appearance`` is what the image shows, or None if the exercise is text only."""

    domain: str
    prompt: str
    answer: str
    appearance: Appearance | None = None
    other_answers: tuple[str, ...] = ()  # equally correct: the same answer in other wordings

    def image(self, rng: random.Random) -> Image | None:
        return draw(self.domain, self.appearance, rng) if self.appearance else None


def every_description(domain: str, appearance: Appearance, name: str | None = None) -> tuple[str, ...]:
    """A look, described in all wordings."""
    return tuple(say.describe(domain, appearance, wording, name) for wording in range(len(say.DESCRIPTIONS[domain])))


def every_background(domain: str, facts: dict[str, str]) -> tuple[str, ...]:
    """Facts in all wordings, with "it" as the subject."""
    return tuple(say.background(domain, facts, wording) for wording in range(len(say.BACKGROUNDS[domain])))


class Curriculum:
    """Draws exercises for one lesson; the same seed gives the same classes and exercises.

    A domain that occurs twice in ``domains`` gets two shares of the exercises. ``dialects``: in which of
    `helpers.synthetic.dialects` the descriptions are that the model reads; what it writes is worded as a caption.
    """

    def __init__(
        self,
        seed: int = 0,
        domains: Sequence[str] = DOMAINS,
        classes: int = CLASSES,
        shares: Mapping[str, float] = SHARES,
        dialects: Sequence[str] = ("captions",),
    ) -> None:
        self.rng = random.Random(seed)
        self.domains, self.shares, self.dialects = domains, shares, dialects
        self.classes = {domain: invent_classes(domain, classes, seed) for domain in domains}
        self.exercises: dict[str, Callable[[str], Exercise]] = {kind: getattr(self, kind) for kind in SHARES}

    def __iter__(self) -> Iterator[Exercise]:
        kinds, shares = list(self.shares), list(self.shares.values())
        while True:
            kind = self.rng.choices(kinds, shares)[0]
            yield self.exercises[kind](self.rng.choice(self.domains))

    # -- building blocks

    def some_class(self, domain: str) -> InventedClass:
        return self.rng.choice(self.classes[domain])

    def some_wording(self, wordings: tuple[str, ...]) -> int:
        return self.rng.choice(say.training_wordings(wordings))

    def describe(self, domain: str, appearance: dict[str, str], name: str | None = None) -> str:
        return say.describe(domain, appearance, self.some_wording(say.DESCRIPTIONS[domain]), name)

    def to_read(self, domain: str, appearance: dict[str, str], name: str | None = None) -> str:
        """A description for the prompt, in one of the lesson's dialects."""
        dialect = self.dialects[0] if len(self.dialects) == 1 else self.rng.choice(self.dialects)
        return tell(domain, appearance, dialect, self.rng, name)

    def background(self, domain: str, facts: dict[str, str], name: str | None = None) -> str:
        return say.background(domain, facts, self.rng.randrange(len(say.BACKGROUNDS[domain])), name)

    def some_visual_question(self, domain: str, appearance: dict[str, str]) -> tuple[str, str]:
        part = self.rng.choice(list(say.VISUAL[domain]))
        return say.pick(self.rng, say.VISUAL[domain][part].asked), say.visual_answer(domain, appearance, part)

    def some_fact_question(self, thing: InventedClass, by_name: bool) -> tuple[str, str, str]:
        """A question, its answer, and the same answer in the other form."""
        fact = self.rng.choice(list(say._FACTS[thing.domain]))
        wording = self.some_wording(say._FACTS[thing.domain][fact].asked)
        question = say.fact_question(thing.domain, fact, wording, thing.name if by_name else None)
        # Half the answers begin with the thing's name: the model then looks up the fact by its own words.
        names = (thing.name, None) if self.rng.random() < 0.5 else (None, thing.name)
        first, other = (say.fact_answer(thing.domain, fact, thing.facts[fact], name) for name in names)
        return question, first, other

    # -- exercises

    def caption(self, domain: str) -> Exercise:
        appearance = VOCABULARIES[domain].sample(self.rng)
        prompt = say.pick(self.rng, say.DESCRIBING[domain])
        return Exercise(
            domain, prompt, self.describe(domain, appearance), appearance, every_description(domain, appearance)
        )

    def visual_question(self, domain: str) -> Exercise:
        appearance = VOCABULARIES[domain].sample(self.rng)
        return Exercise(domain, *self.some_visual_question(domain, appearance), appearance)

    def visual_question_of_text(self, domain: str) -> Exercise:
        appearance = VOCABULARIES[domain].sample(self.rng)
        question, answer = self.some_visual_question(domain, appearance)
        return Exercise(domain, f"{self.to_read(domain, appearance)}\n{question}", answer)

    def paraphrase(self, domain: str) -> Exercise:
        """Repeat a description, in the same or another wording, as a caption."""
        appearance = VOCABULARIES[domain].sample(self.rng)
        prompt = f"{self.to_read(domain, appearance)}\n{say.pick(self.rng, say.DESCRIBING[domain])}"
        return Exercise(
            domain, prompt, self.describe(domain, appearance), other_answers=every_description(domain, appearance)
        )

    def describe_by_name(self, domain: str) -> Exercise:
        thing = self.some_class(domain)
        prompt = self.rng.choice(say.DESCRIBING_BY_NAME).format(s=say.subject(domain, thing.name))
        every = every_description(domain, thing.appearance, thing.name)
        return Exercise(domain, prompt, self.describe(domain, thing.appearance, thing.name), other_answers=every)

    def tell_by_name(self, domain: str) -> Exercise:
        thing = self.some_class(domain)
        prompt = self.rng.choice(say.TELLING_BY_NAME).format(s=say.subject(domain, thing.name))
        appearance = self.describe(domain, thing.appearance, thing.name)
        every = tuple(
            f"{appearance} {background}"
            for appearance in every_description(domain, thing.appearance, thing.name)
            for background in every_background(domain, thing.facts)
        )
        return Exercise(domain, prompt, f"{appearance} {self.background(domain, thing.facts)}", other_answers=every)

    def name_of_image(self, domain: str) -> Exercise:
        thing = self.some_class(domain)
        prompt = say.pick(self.rng, say.NAMING[domain].asked)
        return Exercise(domain, prompt, say.name_answer(domain, thing.name), thing.appearance)

    def name_of_text(self, domain: str) -> Exercise:
        thing = self.some_class(domain)
        prompt = f"{self.to_read(domain, thing.appearance)}\n{say.pick(self.rng, say.NAMING[domain].asked)}"
        short = say.name_answer(domain, thing.name)
        every = (short, *(f"{short} {background}" for background in every_background(domain, thing.facts)))
        answer = f"{short} {self.background(domain, thing.facts)}" if self.rng.random() < 0.3 else short
        return Exercise(domain, prompt, answer, other_answers=every)

    def fact_of_image(self, domain: str) -> Exercise:
        thing = self.some_class(domain)
        question, *answers = self.some_fact_question(thing, by_name=False)
        return Exercise(domain, question, answers[0], thing.appearance, tuple(answers))

    def fact_of_text(self, domain: str) -> Exercise:
        thing = self.some_class(domain)
        question, *answers = self.some_fact_question(thing, by_name=False)
        prompt = f"{self.to_read(domain, thing.appearance)}\n{question}"
        return Exercise(domain, prompt, answers[0], other_answers=tuple(answers))

    def fact_of_name(self, domain: str) -> Exercise:
        question, *answers = self.some_fact_question(self.some_class(domain), by_name=True)
        return Exercise(domain, question, answers[0], other_answers=tuple(answers))

    def reading(self, domain: str) -> Exercise:
        """Answer from a text about a thing whose name was just made up and never occurs again."""
        vocabulary = VOCABULARIES[domain]
        name = invent_name(domain, self.rng)
        thing = InventedClass(domain, name, vocabulary.sample(self.rng), vocabulary.sample_facts(self.rng))
        if self.rng.random() < 0.5:
            text = self.to_read(domain, thing.appearance, name)
            question, *answers = say.pick(self.rng, say.NAMING[domain].asked), say.name_answer(domain, name)
        else:
            text = self.background(domain, thing.facts, name)
            question, *answers = self.some_fact_question(thing, by_name=self.rng.random() < 0.5)
        return Exercise(domain, f"{text}\n{question}", answers[0], other_answers=tuple(answers))
