"""The base models must not know the target classes: proved from the exercises that made them."""

import random
import re
from itertools import islice

import pytest

from helpers.base_models.curriculum import CLASSES, DOMAINS, SHARES, Curriculum
from helpers.base_models.pretraining import LESSONS, Schooling
from helpers.domains import drawn
from helpers.synthetic.appearances import VOCABULARIES
from helpers.synthetic.invented import invent_classes, target_names


@pytest.mark.parametrize("lesson", LESSONS, ids=["first", "second", "third"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_no_invented_name_is_or_holds_or_is_part_of_a_target_name(domain, lesson):
    names = [c.name.lower() for c in invent_classes(domain, lesson.classes, lesson.seed)]
    assert not [(n, t) for n in names for t in target_names() if n in t or t in n]


@pytest.mark.parametrize("domain", DOMAINS)
def test_invented_classes_differ_in_name_and_look_and_fit_the_vocabulary(domain):
    classes = invent_classes(domain, CLASSES, Schooling().seed)
    assert len({c.name for c in classes}) == len({tuple(c.appearance.values()) for c in classes}) == CLASSES
    for thing in classes:
        VOCABULARIES[domain].check(thing.appearance)
        VOCABULARIES[domain].check_facts(thing.facts)


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=["first", "second", "third"])
def test_no_target_name_occurs_in_the_exercises(lesson):
    exercises = islice(lesson.curriculum(), 20_000)
    text = "\n".join(f"{e.prompt}\n{e.answer}".lower() for e in exercises)
    found = [name for name in target_names() if re.search(rf"\b{re.escape(name)}\b", text)]
    assert not found


def test_the_same_seed_gives_the_same_exercises():
    assert list(islice(Curriculum(3), 50)) == list(islice(Curriculum(3), 50))


def test_an_exercise_with_a_look_has_a_picture_and_one_of_text_alone_has_none():
    exercises = list(islice(Curriculum(3), 30))
    shown = [exercise.image(random.Random(0)) is not None for exercise in exercises]
    assert shown == [exercise.appearance is not None for exercise in exercises]
    assert set(shown) == {True, False}


def test_shares_are_whole():
    assert sum(SHARES.values()) == pytest.approx(1)


def test_an_exercise_accepts_its_own_answer_in_every_kind():
    curriculum = Curriculum(1)
    for make in curriculum.exercises.values():
        for domain in DOMAINS:
            exercise = make(domain)
            assert not exercise.other_answers or exercise.answer in exercise.other_answers


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_target_names_are_those_of_the_tables(domain):
    assert {c.name.lower() for c in drawn.load_classes(domain)} <= target_names()
