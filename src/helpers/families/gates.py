"""Gates: what a base has to be able to do before a test of it means anything.

- *caption parts*: does it see? One that speaks describes invented classes that no lesson has, and each part is right or
  wrong (without looking: next to none is right). One that compares finds the caption that fits among four that are
  alike but for one part (without looking: 25 %).
- *known classes*: does it name what it has met? New images of classes of its lesson, four names each.
- *told in words*: has it read? Words, in a wording that no text has, take the place of the image; after reading only.
"""

import random
import re
from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from helpers.families.interface import Course, Member, Pair
from helpers.families.scenes import DOMAINS, as_input, lesson_classes, naming, unseen
from helpers.families.study import Asked
from helpers.schemas import Question, shuffled_question
from helpers.synthetic import language as say
from helpers.synthetic.appearances import VOCABULARIES, Appearance
from helpers.synthetic.drawing import draw
from helpers.synthetic.invented import InventedClass

_COLUMNS = ["gate", "percent", "n"]
_PLAIN = "plain"


def gates_before(member: Member, count: int = 200) -> pd.DataFrame:
    """The gates that a base can be asked at before it reads, a row each: gate, percent, n."""
    found = {"caption parts": parts_said(member, count) if member.speaks else parts_chosen(member, count)}
    if member.names:
        known = known_classes(count, member.names, [member.domain])
        found["known classes"] = _right(member.score(known.sentences, known.shown), known.questions)
    rows = [(gate, 100 * sum(right) / len(right), len(right)) for gate, right in found.items() if right]
    return pd.DataFrame(rows, columns=_COLUMNS)


def known_classes(count: int, named: int, domains: Sequence[str] = DOMAINS, seed: int = 0) -> Asked:
    """Questions about the ``named`` classes of a lesson, as the test asks about others, with new images."""
    rng = random.Random(f"known-{seed}")
    questions, images = [], []
    for domain in domains:
        met = lesson_classes(domain, named)
        for thing in rng.sample(met, min(count // len(domains), len(met))):
            questions.append(_which(thing, met, rng))
            images.append(draw(domain, thing.appearance, rng))
    return Asked("invented", questions, as_input(images))


def told_of_unseen(member: Member, count: int, course: Course | None = None) -> list[bool]:
    """Whether it knows in words what it has read about classes that no lesson has. The member is changed by reading."""
    scenes, rng = unseen(count, domains=[member.domain]), random.Random("told")
    read, heard = ([say.describe(t.domain, t.appearance, w) for t in scenes.things] for w in (0, say.HELD_OUT))
    names = [naming(say.subject(thing.domain, thing.name)) for thing in scenes.things]
    member.read([Pair(name, text) for name, text in zip(names, read, strict=True)], course=course)
    questions = [_which(t, [o for o in scenes.things if o.domain == t.domain], rng) for t in scenes.things]
    return _right(member.score([q.sentences() for q in questions], words=heard), questions)


def _which(thing: InventedClass, among: Sequence[InventedClass], rng: random.Random) -> Question:
    """Which of four names is the thing's?"""
    return shuffled_question(
        rng,
        [thing.name, *[other.name for other in rng.sample(among, 4) if other.name != thing.name][:3]],
        **{"domain": thing.domain, "question_id": f"{thing.domain}-{thing.name}", "class_id": thing.name},
        **{"question_type": 1, "category": "old_class", "image": None, "split": "dev"},
        question=say.NAMING[thing.domain].asked[say.HELD_OUT],
        answer_form=naming(say.subject(thing.domain, "{option}")),
    )


def parts_chosen(member: Member, count: int, seed: int = 0) -> list[bool]:
    """Whether the caption that fits is chosen among four that differ in one part; empty if it compares no captions.

    Parts with fewer than four values are left out, and so is the pattern of a thing that has none.
    """
    scenes, rng = unseen(count, seed, [member.domain]), random.Random(f"parts-{seed}")
    options, answers = [], []
    for thing in scenes.things:
        part = rng.choice(_with_four_values(thing.domain, thing.appearance))
        true = thing.appearance[part]
        others = [v for v in VOCABULARIES[thing.domain].parts[part] if v not in (true, _PLAIN)]
        values = rng.sample([true, *rng.sample(others, 3)], 4)
        options.append([say.describe(thing.domain, {**thing.appearance, part: value}, 0) for value in values])
        answers.append(values.index(true))
    scores = member.by_description(options, scenes.shown)
    return [] if scores is None else (scores.argmax(dim=1).cpu().numpy() == answers).tolist()


def _with_four_values(domain: str, appearance: Appearance) -> list[str]:
    parts = VOCABULARIES[domain].parts
    plain = ("pattern", "pattern_colour") if appearance["pattern"] == _PLAIN else ()
    return [part for part, values in parts.items() if len(set(values) - {_PLAIN}) >= 4 and part not in plain]


def parts_said(member: Member, count: int, seed: int = 0) -> list[bool]:
    """Whether each part of what it writes about an image is right; nothing is, if it is in no wording of a caption."""
    scenes = unseen(count, seed, [member.domain])
    found = []
    for thing, text in zip(scenes.things, member.describe(scenes.shown), strict=True):
        true = say.phrases(VOCABULARIES[thing.domain], thing.appearance)
        read = said_parts(thing.domain, text)
        fields = {part for part in re.findall(r"{(\w+)}", say.DESCRIPTIONS[thing.domain][0])} - {"S", "s"}
        found += [read.get(part) == true[part] for part in sorted(fields)]
    return found


def said_parts(domain: str, text: str) -> dict[str, str]:
    """The parts that a caption states, as phrases ("red spots"); empty if it is in no wording of a caption."""
    for wording in say.DESCRIPTIONS[domain]:
        pattern = re.escape(wording).replace(r"\ ", " ")
        pattern = re.sub(r"\\{[Ss]\\}", ".+?", pattern).replace("a \\{", "an? \\{")
        match = re.fullmatch(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", pattern), text.strip())
        if match:
            return {part: phrase.replace("an orange", "a orange") for part, phrase in match.groupdict().items()}
    return {}


def _right(scores: Tensor, questions: Sequence[Question]) -> list[bool]:
    return [chosen == q.answer for chosen, q in zip(scores.argmax(dim=1).tolist(), questions, strict=True)]
