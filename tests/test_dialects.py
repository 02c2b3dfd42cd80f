"""Dialects: the same looks in other words, which a list of words cannot match and a reader can."""

import random
import re

import pytest

from helpers.base_models.curriculum import READING_SHARES, Curriculum
from helpers.domains.drawn import load_classes
from helpers.evaluation.baselines import likeness
from helpers.paths import DATA
from helpers.synthetic import language as say
from helpers.synthetic.appearances import NONE, VOCABULARIES
from helpers.synthetic.dialects import DIALECTS, new_words, tell

FUNCTION_WORDS = set("a an and the this it its is of with in to no has are colour butterfly object".split())


def texts_of(domain, dialect, classes=None):
    return [
        tell(domain, thing.appearance, dialect, random.Random(f"{thing.class_id}/{dialect}"))
        for thing in classes or load_classes(domain)
    ]


def words(text):
    return set(re.findall(r"[a-z]+", text.lower()))


@pytest.mark.parametrize("domain", VOCABULARIES)
@pytest.mark.parametrize("dialect", ["synonyms", "similes"])
def test_no_word_of_a_value_or_part_is_one_that_a_caption_uses(domain, dialect):
    captions = {
        word
        for thing in load_classes(domain)
        for wording in range(len(say.DESCRIPTIONS[domain]))
        for word in words(say.describe(domain, thing.appearance, wording))
    }
    for text in texts_of(domain, dialect):
        assert not (words(text) & captions) - FUNCTION_WORDS, text


@pytest.mark.parametrize("domain", VOCABULARIES)
def test_the_reordered_dialect_has_the_captions_words_for_every_value(domain):
    for thing, text in zip(load_classes(domain), texts_of(domain, "reordered"), strict=True):
        said = say.phrases(VOCABULARIES[domain], thing.appearance)
        values = {part: value for part, value in thing.appearance.items() if value not in (NONE, "plain")}
        missing = [part for part in values if not words(said[part]) & words(text)]
        assert not missing, (text, missing)


@pytest.mark.parametrize("domain", VOCABULARIES)
def test_a_dictionary_is_right_where_the_words_are_the_captions_and_at_chance_where_they_are_not(domain):
    classes = load_classes(domain)
    captions = [say.describe(domain, thing.appearance, say.HELD_OUT) for thing in classes]
    rng = random.Random(0)

    def right(dialect):
        alike = likeness(texts_of(domain, dialect), captions)
        hits = [max([i, *rng.sample([j for j in range(len(classes)) if j != i], 3)], key=alike[i].__getitem__) == i
                for i in range(len(classes))]  # fmt: skip
        return 100 * sum(hits) / len(hits)

    assert right("captions") >= 95 and right("reordered") >= 95
    assert right("synonyms") <= 50 and right("similes") <= 50


@pytest.mark.parametrize("domain", VOCABULARIES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_text_names_no_class_and_takes_a_name_where_it_is_given_one(domain, dialect):
    thing = load_classes(domain)[0]
    text = tell(domain, thing.appearance, dialect, random.Random(1))
    assert say.subject(domain) in text.lower() and thing.name not in text
    named = tell(domain, thing.appearance, dialect, random.Random(1), thing.name)
    assert say.subject(domain, thing.name) in named.replace("The ", "the ")
    assert text == tell(domain, thing.appearance, dialect, random.Random(1))


def test_texts_are_sentences_and_leave_out_at_most_one_part():
    rng = random.Random(0)
    for domain, vocabulary in VOCABULARIES.items():
        parts = len([part for part in vocabulary.parts if part != "pattern_colour"])
        for dialect in DIALECTS[1:]:
            for _ in range(50):
                text = tell(domain, vocabulary.sample(rng), dialect, rng)
                assert text[0].isupper() and text.endswith(".") and "{" not in text and "  " not in text
                clauses = len(re.findall(r", | and |\. ", text)) + 1
                assert parts - 1 <= clauses <= parts


def test_an_unknown_dialect_is_refused_by_name():
    look = VOCABULARIES["butterfly"].sample(random.Random(0))
    with pytest.raises(ValueError, match=r"dialect is 'slang'; known: captions, reordered, synonyms, similes"):
        tell("butterfly", look, "slang", random.Random(0))


def test_a_lesson_in_dialects_reads_them_and_writes_captions():
    lesson = Curriculum(2, ("butterfly", "culture"), 20, READING_SHARES, ("synonyms", "similes"))
    unknown = set(new_words())
    read, written = 0, 0
    for _, exercise in zip(range(600), lesson, strict=False):
        first = exercise.prompt.split("\n")[0]
        read += "\n" in exercise.prompt and bool(words(first) & unknown)
        written += bool(words(exercise.answer) & {"crimson", "scarlet", "azure", "cobalt", "rust", "snow", "ivory"})
    assert read > 150 and written == 0


@pytest.mark.parametrize("name", ["tiny-qwen2-vl", "tiny-llava-next"])
def test_the_dialects_words_are_single_tokens_and_cut_up_no_other(name):
    from helpers.models.loading import load_processor

    tokenizer = load_processor(DATA / "models" / name).tokenizer
    added = {word for word in tokenizer.get_added_vocab() if word.startswith(" ")}
    assert {" crimson", " rust", " feelers"} <= added
    plain = [tell(d, t.appearance, "captions", random.Random(0)) for d in VOCABULARIES for t in load_classes(d)]
    plain += [say.background(d, t.facts, 0, t.name) for d in VOCABULARIES for t in load_classes(d)]
    for text in plain:
        pieces = tokenizer.tokenize(text)
        assert not added & set(pieces), text
    text = "This butterfly is crimson above, and its feelers are knobbed."
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text
