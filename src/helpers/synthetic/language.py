"""The language of the drawn world: looks and facts as English sentences, with questions and answers about them.

Every sentence has several wordings. The last wording of each question is *held out*: neither training nor the base
models' lessons ask in it, and the test asks in no other. So no prompt that is scored equals one that a model was
trained on (`tests/test_held_out.py`). What stands before the question may: a model that describes first is asked about
its own words, which come in wordings that it was taught, and these are often, letter for letter, the description in a
training prompt. The last wording of a description is held out too: it is in no training text and in no lesson.

The demo's base models were taught these sentences, and the drawn questions use them. The prompts of the training under
study, and those of the test around its questions, are data instead (`helpers.config.prompts`).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from helpers.synthetic.appearances import NONE, VOCABULARIES, Appearance, Vocabulary

HELD_OUT = -1  # index of the held-out wording in every list of wordings below


@dataclass(frozen=True)
class PhrasedQuestion:
    """A question about one thing: several wordings, and the answer, with ``{S}`` or ``{s}`` (subject) and ``{v}``."""

    asked: tuple[str, ...]
    answer: str


# {S} and {s} are the subject, at the start of a sentence and inside one; the rest are phrases made from the look.
DESCRIPTIONS: dict[str, tuple[str, ...]] = {
    "butterfly": (
        "{S} has {shape} {wing_colour} wings with {pattern} and {border}. The hindwings are {hindwing_colour}. "
        "It has a {body} body and {antennae} antennae.",
        "The wings of {s} are {wing_colour} and {shape}, with {border} and {pattern}. It has {hindwing_colour} "
        "hindwings, {antennae} antennae and a {body} body.",
        "With {antennae} antennae and a {body} body, {s} shows {hindwing_colour} hindwings and {shape} "
        "{wing_colour} forewings. The forewings have {pattern} and {border}.",
        "{S} has {pattern} on {wing_colour} wings. The wings are {shape} with {border}. The hindwings are "
        "{hindwing_colour}, the body is {body} and the antennae are {antennae}.",
        "The hindwings of {s} are {hindwing_colour}. Its wings are {shape} and {wing_colour} with {border} and "
        "{pattern}. The antennae are {antennae} and the body is {body}.",
    ),
    "culture": (
        "{S} is a {colour} {form} with {pattern} and {trim}. It has {accent}.",
        "The colour of {s} is {colour} and the form is a {form}. It has {accent}, {trim} and {pattern}.",
        "With {pattern} and {accent}, {s} is a {form}. The colour is {colour} with {trim}.",
        "{S} has the form of a {form}, {colour} with {trim}. It shows {pattern} and {accent}.",
        "The form of {s} is a {form}. It is {colour} with {accent} and {pattern}, and it has {trim}.",
    ),
}

BACKGROUNDS: dict[str, tuple[str, ...]] = {
    "butterfly": (
        "{S} lives in the {habitat} of {region}. It flies in {season} and its caterpillars eat {host}. It is {size}.",
        "{S} is found in {region} and it lives in {habitat}. It is {size} and flies in {season}. "
        "The caterpillars eat {host}.",
        "The caterpillars of {s} eat {host}. It is {size}, flies in {season} and lives in the {habitat} of {region}.",
    ),
    "culture": (
        "{S} is made of {material} and serves for {use}. It belongs to {occasion}. It comes from {era} and {region}.",
        "{S} comes from {region} and {era}. It serves for {use}, is made of {material} and belongs to {occasion}.",
        "{S} belongs to {occasion} and serves for {use}. It is made of {material} and comes from {era} and {region}.",
    ),
}

NAMING: dict[str, PhrasedQuestion] = {
    "butterfly": PhrasedQuestion(
        (
            "What is this butterfly called?",
            "Which species is this?",
            "What is the name of this butterfly?",
            "Name this species.",
            "What is this species called?",
        ),
        "This is {s}.",
    ),
    "culture": PhrasedQuestion(
        (
            "What is this object called?",
            "Which object is this?",
            "What is the name of this object?",
            "Name this object.",
            "What do people call this object?",
        ),
        "This is {s}.",
    ),
}

DESCRIBING: dict[str, tuple[str, ...]] = {
    "butterfly": (
        "Describe this butterfly.",
        "What does this butterfly look like?",
        "Describe what this species looks like.",
        "How does this butterfly look?",
        "Describe the look of this butterfly.",
    ),
    "culture": (
        "Describe this object.",
        "What does this object look like?",
        "Describe what this object looks like.",
        "How does this object look?",
        "Describe the look of this object.",
    ),
}

DESCRIBING_BY_NAME = ("What does {s} look like?", "Describe {s}.", "How does {s} look?", "Describe the look of {s}.")
TELLING_BY_NAME = ("Tell me about {s}.", "What do you know of {s}?", "Tell me what you know of {s}.")

VISUAL: dict[str, dict[str, PhrasedQuestion]] = {
    "butterfly": {
        "wing_colour": PhrasedQuestion(
            ("What colour are the wings?", "Which colour do the wings have?", "Of what colour are the wings?"),
            "The wings are {v}.",
        ),
        "pattern": PhrasedQuestion(
            ("What is on the wings?", "Which pattern do the wings have?", "What pattern is on the wings?"),
            "The wings have {v}.",
        ),
        "border_colour": PhrasedQuestion(
            ("What border do the wings have?", "Which border is this?", "Which border do the wings have?"),
            "The wings have {v}.",
        ),
        "hindwing_colour": PhrasedQuestion(
            (
                "What colour are the hindwings?",
                "Which colour do the hindwings have?",
                "Of what colour are the hindwings?",
            ),
            "The hindwings are {v}.",
        ),
        "shape": PhrasedQuestion(
            ("What shape are the wings?", "Which shape do the wings have?", "Of what shape are the wings?"),
            "The wings are {v}.",
        ),
        "body": PhrasedQuestion(
            ("How is the body?", "What body does it have?", "Which body does it have?"), "The body is {v}."
        ),
        "antennae": PhrasedQuestion(
            ("How are the antennae?", "What antennae does it have?", "Which antennae does it have?"),
            "The antennae are {v}.",
        ),
    },
    "culture": {
        "form": PhrasedQuestion(
            ("What form does it have?", "Which form is this?", "Which form does it have?"), "The form is a {v}."
        ),
        "colour": PhrasedQuestion(
            ("What colour is it?", "Which colour does it have?", "Of what colour is it?"), "The colour is {v}."
        ),
        "pattern": PhrasedQuestion(
            ("What is on it?", "Which pattern does it have?", "What pattern is on it?"), "It has {v}."
        ),
        "trim_colour": PhrasedQuestion(
            ("What trim does it have?", "Which trim is this?", "Which trim does it have?"), "It has {v}."
        ),
        "accent": PhrasedQuestion(
            ("What accent is this?", "Which accent does it have?", "What accent does it have?"), "It has {v}."
        ),
    },
}

_FACTS: dict[str, dict[str, PhrasedQuestion]] = {
    "butterfly": {
        "habitat": PhrasedQuestion(
            ("Where does {s} live?", "What is the habitat of {s}?", "In what habitat does {s} live?"),
            "{S} lives in {v}.",
        ),
        "season": PhrasedQuestion(
            ("When does {s} fly?", "What is the season of {s}?", "In which season does {s} fly?"), "{S} flies in {v}."
        ),
        "host": PhrasedQuestion(
            (
                "What do the caterpillars of {s} eat?",
                "What does {s} eat as a caterpillar?",
                "Which plants do the caterpillars of {s} eat?",
            ),
            "The caterpillars of {s} eat {v}.",
        ),
        "region": PhrasedQuestion(
            ("In what region is {s} found?", "Which region does {s} live in?", "Where in the world is {s} found?"),
            "{S} is found in {v}.",
        ),
        "size": PhrasedQuestion(("How large is {s}?", "What size is {s}?", "Of what size is {s}?"), "{S} is {v}."),
    },
    "culture": {
        "material": PhrasedQuestion(
            ("What is {s} made of?", "Which material is {s} made of?", "Of what material is {s} made?"),
            "{S} is made of {v}.",
        ),
        "use": PhrasedQuestion(
            ("What does {s} serve for?", "What is the use of {s}?", "For what use is {s}?"), "{S} serves for {v}."
        ),
        "occasion": PhrasedQuestion(
            ("What does {s} belong to?", "Which occasion does {s} belong to?", "To which occasion does {s} belong?"),
            "{S} belongs to {v}.",
        ),
        "era": PhrasedQuestion(
            ("Which era does {s} come from?", "What is the era of {s}?", "From which era does {s} come?"),
            "{S} comes from {v}.",
        ),
        "region": PhrasedQuestion(
            ("Which region does {s} come from?", "What is the region of {s}?", "From which region does {s} come?"),
            "{S} comes from {v}.",
        ),
    },
}


def capitalise(text: str) -> str:
    """Capitalise the first letter and leave the rest (``str.capitalize`` would put proper names in lower case)."""
    return text[:1].upper() + text[1:]


def subject(domain: str, name: str | None = None) -> str:
    """How a sentence refers to a thing: by name, or as ``this butterfly`` if the name must not be given away."""
    if name is None:
        return f"this {VOCABULARIES[domain].noun}"
    return f"the {name}" if domain == "butterfly" else name


def phrases(vocabulary: Vocabulary, appearance: Mapping[str, str]) -> dict[str, str]:
    """The look's values as phrases; absent parts are stated ("no pattern"), since silence teaches nothing."""
    said = dict(appearance)
    said["pattern"] = (
        "no pattern" if appearance["pattern"] == "plain" else f"{appearance['pattern_colour']} {appearance['pattern']}"
    )
    if vocabulary.domain == "butterfly":
        said["border"] = (
            "no border" if appearance["border_colour"] == NONE else f"a {appearance['border_colour']} border"
        )
        said["border_colour"] = said["border"]
    else:
        said["trim"] = "no trim" if appearance["trim_colour"] == NONE else f"a {appearance['trim_colour']} trim"
        said["trim_colour"] = said["trim"]
        accent = appearance["accent"]
        said["accent"] = "no accent" if accent == NONE else accent if accent == "steam" else f"a {accent}"
    return said


def tidy(text: str) -> str:
    """Correct the article before a vowel ("an orange border"), which templates cannot know."""
    return text.replace(" a orange", " an orange")


def possessive(text: str) -> str:
    """Write "Its caterpillars" instead of "The caterpillars of it"."""
    return text.replace("The caterpillars of it ", "Its caterpillars ")


def describe(domain: str, appearance: Appearance, wording: int, name: str | None = None) -> str:
    """What a thing looks like, in two or three sentences of the given wording."""
    who = subject(domain, name)
    said = phrases(VOCABULARIES[domain], appearance)
    return tidy(DESCRIPTIONS[domain][wording].format(S=capitalise(who), s=who, **said))


def background(domain: str, facts: Mapping[str, str], wording: int, name: str | None = None) -> str:
    """What is known of a thing besides its appearance; without a name, the subject is "it"."""
    who = "it" if name is None else subject(domain, name)
    return possessive(BACKGROUNDS[domain][wording].format(S=capitalise(who), s=who, **facts))


def name_answer(domain: str, name: str) -> str:
    """The sentence that names a thing."""
    return NAMING[domain].answer.format(s=subject(domain, name))


def visual_answer(domain: str, appearance: Appearance, part: str) -> str:
    """The sentence that states one part of a look."""
    said = phrases(VOCABULARIES[domain], appearance)
    return tidy(VISUAL[domain][part].answer.format(v=said[part]))


def fact_answer(domain: str, fact: str, value: str, name: str | None = None) -> str:
    """The sentence that states one fact; without a name, the subject is "it"."""
    who = "it" if name is None else subject(domain, name)
    return possessive(_FACTS[domain][fact].answer.format(S=capitalise(who), s=who, v=value))


def fact_question(domain: str, fact: str, wording: int, name: str | None = None) -> str:
    """Ask for a fact about a named thing, or about the thing in the image."""
    return _FACTS[domain][fact].asked[wording].format(s=subject(domain, name))


def training_wordings(wordings: Sequence[str]) -> range:
    """Indices that training may use: all but the last, which is held out."""
    return range(len(wordings) - 1)


def pick(rng: random.Random, wordings: Sequence[str]) -> str:
    """A random wording that is not held out."""
    return wordings[rng.choice(training_wordings(wordings))]
