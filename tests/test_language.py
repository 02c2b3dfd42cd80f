"""Sentences are English, say every part, and keep the held-out wording out of training."""

import random

import pytest

from helpers.domains import drawn
from helpers.synthetic import language as say
from helpers.synthetic.appearances import BUTTERFLY, VOCABULARIES

APPEARANCE = {
    "wing_colour": "orange",
    "pattern": "veins",
    "pattern_colour": "black",
    "border_colour": "orange",
    "hindwing_colour": "brown",
    "shape": "rounded",
    "body": "slender",
    "antennae": "clubbed",
}


def test_a_description_says_every_part_in_plain_english():
    assert say.describe("butterfly", APPEARANCE, 0, "Monarch") == (
        "The Monarch has rounded orange wings with black veins and an orange border. The hindwings are brown. "
        "It has a slender body and clubbed antennae."
    )


def test_absent_parts_are_said_to_be_absent():
    plain = APPEARANCE | {"pattern": "plain", "pattern_colour": "none", "border_colour": "none"}
    assert "no pattern and no border" in say.describe("butterfly", plain, 0)


@pytest.mark.parametrize("domain", VOCABULARIES)
def test_every_wording_of_every_class_tells_all_classes_apart(domain):
    for wording in range(len(say.DESCRIPTIONS[domain])):
        texts = {say.describe(domain, thing.appearance, wording) for thing in drawn.load_classes(domain)}
        assert len(texts) == len(drawn.load_classes(domain))


def test_without_a_name_a_background_speaks_of_it():
    facts = BUTTERFLY.sample_facts(random.Random(0))
    texts = [say.background("butterfly", facts, wording) for wording in range(3)]
    assert all("It" in text and "of it " not in text for text in texts)


def test_training_never_picks_the_held_out_wording():
    wordings = ("a", "b", "held out")
    assert {say.pick(random.Random(seed), wordings) for seed in range(50)} == {"a", "b"}


@pytest.mark.parametrize("domain", VOCABULARIES)
def test_questions_exist_for_every_part_and_fact(domain):
    vocabulary = VOCABULARIES[domain]
    assert set(say._FACTS[domain]) == set(vocabulary.facts)
    assert set(say.VISUAL[domain]) | {"pattern_colour"} == set(vocabulary.parts)
