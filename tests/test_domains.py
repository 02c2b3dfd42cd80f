"""Opening a domain by its source, wrong options that look alike, and the questions for what is forgotten."""

import random
from collections import Counter
from dataclasses import dataclass

import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from helpers.base_models.curriculum import DOMAINS, Curriculum
from helpers.config.data import Data
from helpers.config.profiles import load_profile
from helpers.config.writer import Writer
from helpers.datasets.card import recorded_source, source_of, write_dataset_card
from helpers.domains import SOURCES, check_source, drawn, input_files, open_domain, retention
from helpers.domains.interface import DataSource, Domain, Origin, Subject
from helpers.evaluation.baselines import longest_option, most_frequent_option, prior
from helpers.evaluation.run import write_answers
from helpers.paths import PROFILES
from helpers.results.figures.style import label
from helpers.results.stats import accuracy_table
from helpers.results.tables import in_order, read_answers
from helpers.rows import RowFile
from helpers.schemas import ClassText, Question, read_questions, write_questions, write_texts
from helpers.synthetic import language as say
from helpers.synthetic.appearances import VOCABULARIES
from helpers.synthetic.drawing import draw
from helpers.synthetic.invented import target_names
from helpers.workflow.preflight import PreflightError
from helpers.writer.interface import open_writer

DATA = {
    "test_images_per_class": 2,
    "wordings_per_class": 1,
    "limit_classes": None,
    "distractors": "random",
    "image_size": 56,
    "seed": 0,
}


def test_an_unknown_source_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="source is 'web'; known: drawn, kviscuit, butterflies, own"):
        open_domain("butterfly", "web", None, None, 1, 56, 0)


@pytest.mark.parametrize(
    ("domain", "source", "path", "said"),
    [
        ("x", "web", None, "source is 'web'; known: drawn, kviscuit, butterflies, own"),
        ("x", "kviscuit", None, "source kviscuit without a path: name the folder"),
        ("x", "butterflies", None, "source butterflies without a path"),
        ("x", "own", None, "source own without a path"),
        ("butterfly", "drawn", "x", "source drawn with path 'x': a drawn domain takes none; leave path out"),
        ("bird", "drawn", None, "domain is 'bird'; the drawn domains are butterfly, culture"),
    ],
)
def test_a_source_that_does_not_go_with_its_path_or_domain_is_refused_before_anything_runs(domain, source, path, said):
    with pytest.raises(ValueError, match=said):
        open_domain(domain, source, path, None, 1, 56, 0)
    with pytest.raises(PreflightError, match=f"domains.{domain}: {said}"):
        input_files(domain, source, path)


def test_the_workflow_watches_the_files_that_a_domain_is_read_from():
    assert input_files("culture", "drawn", None) == ["data/culture.csv"]
    assert "data/own/example/classes.csv" in input_files("x", "own", "data/own/example")
    assert input_files("x", "kviscuit", "ddehun/k-viscuit") == []


def test_every_profile_names_a_source_that_can_be_opened():
    for file in PROFILES.glob("*.yaml"):
        for name, domain in load_profile(file.stem).domains.items():
            check_source(name, domain.source, domain.path)


@dataclass(frozen=True)
class Mushrooms(Domain):
    """A source as somebody would add it: everything that the project asks of it is in this class and `MUSHROOMS`."""

    names: list[str]

    def table(self):
        return [{"name": name} for name in self.names]

    def bring_images(self, folder):
        (folder / "images").mkdir(parents=True)
        for name in self.names:
            Image.new("RGB", (56, 56), "brown").save(folder / f"images/{name}.png")

    def questions(self):
        return [
            Question(
                domain="mushroom",
                question_id=name,
                question_type=1,
                category="name",
                class_id=name,
                question="What is this called?",
                options=self.names[:4],
                answer=place,
                image=f"images/{name}.png",
                split="test",
            )
            for place, name in enumerate(self.names[:4])
        ]

    def class_info(self):
        return [Subject("mushroom", name, name, f"the {name}") for name in self.names]

    def offline_texts(self, wordings):
        told = {"domain": "mushroom", "appearance": "It is brown.", "background": "It grows.", "writer": "offline"}
        return [ClassText(class_id=n, name=f"the {n}", wording=0, image=None, **told) for n in self.names]


MUSHROOMS = DataSource(
    lambda request: Mushrooms(["Bolete", "Morel", "Truffle", "Puffball", "Inkcap"][: request.limit_classes]),
    Origin("Mushrooms of the wood.", "cc0-1.0"),
    labels={"mushroom": "Mushrooms"},
)


def test_a_source_needs_its_module_and_one_line_from_the_pictures_to_the_tables(tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "forest", MUSHROOMS)
    (tmp_path / "wood").mkdir()
    assert input_files("mushroom", "forest", str(tmp_path / "wood")) == []
    domain = open_domain("mushroom", "forest", tmp_path / "wood", None, 1, 56, 0)
    domain.bring_images(tmp_path)
    assert domain.retention_questions() == []

    author = open_writer(Writer(), "mushroom")
    assert author.plan(domain, tmp_path, 1).texts == 5
    texts = RowFile(write_texts(tmp_path / "texts.jsonl", author.write(domain, tmp_path, 1).texts), ClassText)
    questions = read_questions(write_questions(tmp_path / "questions.jsonl", domain.questions()))
    asked = open_writer(Writer(backend="openai", cache_dir=str(tmp_path)), "mushroom").plan(domain, tmp_path, 1)
    assert (asked.texts, asked.requests) == (5, 5)  # by the generic prompt

    card = write_dataset_card(tmp_path, "mushroom", source_of("forest"), {"texts.jsonl": 5}, {}, texts, {})
    assert "Mushrooms of the wood. Licence: cc0-1.0." in card.read_text(encoding="utf-8")
    (tmp_path / "manifest.json").write_text('{"parameters": {"source": "forest"}}', encoding="utf-8")
    assert recorded_source(tmp_path) == "forest"

    write_answers(tmp_path / "answers.jsonl", longest_option(questions, "mushroom"))
    answers = read_answers([tmp_path / "answers.jsonl"])
    before = answers.assign(domain="an unregistered one")
    table = in_order(accuracy_table(pd.concat([before, answers]), ["domain"]))
    assert table[["domain", "type1"]].to_numpy().tolist() == [["mushroom", 25.0], ["an unregistered one", 25.0]]
    assert label("mushroom") == "Mushrooms"


def test_no_more_test_pictures_than_facts():
    assert Data(**DATA | {"test_images_per_class": 5}).test_images_per_class == 5
    with pytest.raises(ValidationError, match="6 test images per class: each asks for a different fact; at most 5"):
        Data(**DATA | {"test_images_per_class": 6})
    with pytest.raises(ValueError, match="6 images per class: each asks for a different fact, and there are 5"):
        open_domain("butterfly", "drawn", None, 8, 6, 56, 0).questions()


def test_fewer_than_four_classes_are_refused():
    with pytest.raises(ValueError, match="3 classes; a question needs four options"):
        open_domain("butterfly", "drawn", None, 3, 1, 56, 0).questions()


def test_the_table_of_a_drawn_domain_has_a_row_a_class():
    (only,) = open_domain("butterfly", "drawn", None, 1, 1, 56, 0).table()
    assert [only[column] for column in ("name", "category", "wing_colour")] == ["Adonis", "Lycaenidae", "blue"]
    assert only["habitat"] == "meadows"


@pytest.mark.parametrize(("column", "said"), [("wing_colour", "allowed: white, yellow"), ("habitat", "allowed: ")])
def test_a_value_outside_the_vocabulary_is_named_with_its_table_and_class(tmp_path, monkeypatch, column, said):
    table = pd.read_csv(drawn.FACTS_TABLES["butterfly"], dtype=str, keep_default_na=False)
    table.loc[1, column] = "octarine"
    table.to_csv(tmp_path / "butterflies.csv", index=False)
    monkeypatch.setitem(drawn.FACTS_TABLES, "butterfly", tmp_path / "butterflies.csv")
    named = f"butterflies.csv, class 'african-giant-swallowtail': butterfly: {column} is 'octarine'; {said}"
    with pytest.raises(ValueError, match=named):
        open_domain("butterfly", "drawn", None, 1, 1, 56, 0)


def test_a_part_that_the_vocabulary_lacks_is_named():
    appearance = drawn.load_classes("butterfly", 1)[0].appearance
    with pytest.raises(ValueError, match=r"butterfly: unknown parts \['tail'\]; known: wing_colour, "):
        VOCABULARIES["butterfly"].check(appearance | {"tail": "long"})


def test_what_is_not_of_the_drawn_world_cannot_be_drawn():
    with pytest.raises(ValueError, match="domain is 'bird'; the drawn domains are butterfly, culture"):
        draw("bird", {}, random.Random(0))


# -- wrong options


def thing(name: str, **appearance: str) -> drawn.DrawnClass:
    """A butterfly whose look differs from the plain black one in the parts given."""
    plain = {part: values[0] for part, values in VOCABULARIES["butterfly"].parts.items()}
    facts = {fact: values[0] for fact, values in VOCABULARIES["butterfly"].facts.items()}
    return drawn.DrawnClass("butterfly", name.lower(), name, "family", plain | appearance, facts)


def test_look_alikes_are_the_classes_with_the_fewest_differing_parts():
    target, far = thing("Target"), thing("Far", shape="tailed", body="stout", antennae="feathered")
    near = [thing("One", shape="tailed"), thing("Two", body="stout"), thing("Three", shape="tailed", body="stout")]
    assert drawn.differing_parts(target.appearance, far.appearance) == 3
    classes = [far, near[2], target, near[1], near[0]]
    for seed in range(5):
        assert set(drawn.wrong_names(target, classes, "look_alike", random.Random(seed))) == {"One", "Two", "Three"}


def test_ties_are_drawn_at_random_and_the_same_seed_draws_the_same():
    target = thing("Target")
    classes = [target, *(thing(name, shape="tailed") for name in "ABCDEF")]
    names = [tuple(sorted(drawn.wrong_names(target, classes, "look_alike", random.Random(seed)))) for seed in range(20)]
    assert len(set(names)) > 5
    again = [tuple(sorted(drawn.wrong_names(target, classes, "look_alike", random.Random(seed)))) for seed in range(20)]
    assert names == again


def test_look_alikes_change_the_options_of_type_1_alone():
    plain, alike = (
        open_domain("butterfly", "drawn", None, None, 2, 56, 0, distractors=how) for how in ("random", "look_alike")
    )
    one, two = ([q for q in domain.questions() if q.question_type == 1] for domain in (plain, alike))
    assert len(one) == len(two) == 400
    assert [(q.question_id, q.right_option, q.question) for q in one] == [
        (q.question_id, q.right_option, q.question) for q in two
    ]
    appearances = {c.name: c.appearance for c in alike.classes}

    def distance(questions):
        others = [(q.right_option, option) for q in questions for option in q.options if option != q.right_option]
        return sum(drawn.differing_parts(appearances[a], appearances[b]) for a, b in others) / len(others)

    assert distance(two) < distance(one) - 1


def test_the_wrong_options_of_every_butterfly_are_its_three_nearest():
    domain = open_domain("butterfly", "drawn", None, None, 1, 56, 0, distractors="look_alike")
    appearances = {c.name: c.appearance for c in domain.classes}
    for question in (q for q in domain.questions() if q.question_type == 1):
        right = appearances[question.right_option]
        distances = sorted(drawn.differing_parts(right, appearance) for appearance in appearances.values())
        assert sorted(drawn.differing_parts(right, appearances[option]) for option in question.options) == distances[:4]


def test_unknown_distractors_are_named():
    with pytest.raises(ValueError, match="distractors is 'hard'; known: random, look_alike"):
        open_domain("butterfly", "drawn", None, 8, 1, 56, 0, distractors="hard").questions()


# -- what is forgotten


@pytest.mark.parametrize("domain", DOMAINS)
def test_there_are_a_hundred_retention_questions_of_each_kind(domain):
    questions = open_domain(domain, "drawn", None, 8, 1, 56, 0).retention_questions()
    kinds = [question.category for question in questions]
    assert (kinds.count("visual"), kinds.count("old_class"), len(kinds)) == (100, 100, 200)
    assert {question.split for question in questions} == {"test"}
    assert len({question.question_id for question in questions}) == 200
    assert len({question.image for question in questions}) == 200


def test_retention_questions_depend_on_the_seed_and_on_nothing_else():
    first, again, other = (
        open_domain("butterfly", "drawn", None, limit, 1, 56, seed).retention_questions()
        for limit, seed in ((8, 0), (None, 0), (8, 1))
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_right_answer_says_what_the_picture_shows_and_the_others_do_not(domain):
    for asked in retention.asked(domain, 0):
        if asked.question.category == "visual":
            true = {say.visual_answer(domain, asked.appearance, part) for part in say.VISUAL[domain]}
            assert asked.question.right_option in true
            part = next(p for p, q in say.VISUAL[domain].items() if q.asked[say.HELD_OUT] == asked.question.question)
            assert asked.question.right_option == say.visual_answer(domain, asked.appearance, part)


def test_old_classes_are_invented_ones_of_one_lesson_and_shown_as_they_look():
    taught = Curriculum(retention.LESSON_SEED, DOMAINS, retention.LESSON_CLASSES).classes["butterfly"]
    appearances = {known.name: known.appearance for known in taught}
    for asked in retention.asked("butterfly", 0)[retention.QUESTIONS :]:
        assert asked.appearance == appearances[asked.question.right_option]
        assert set(asked.question.options) <= set(appearances)
        assert not {option.lower() for option in asked.question.options} & target_names()


@pytest.mark.slow  # it imports torch
def test_that_lesson_is_the_base_models_last():
    from helpers.base_models.pretraining import LESSONS

    assert (LESSONS[-1].seed, LESSONS[-1].classes) == (retention.LESSON_SEED, retention.LESSON_CLASSES)


def test_retention_pictures_are_drawn_with_the_others_and_lie_apart(tmp_path):
    domain = open_domain("butterfly", "drawn", None, 4, 1, 32, 0)
    domain.bring_images(tmp_path)
    path = write_questions(tmp_path / "retention.jsonl", domain.retention_questions())
    assert len(read_questions(path)) == 200
    names = {image.relative_to(tmp_path).as_posix() for image in tmp_path.rglob("*.png")}
    assert len(names) == 4 * 3 + 200
    with Image.open(tmp_path / "images/retention/visual-0.png") as image:
        assert image.size == (32, 32)


def _knowledge(domain, images, seed=0, classes=None):
    """The type-2 questions of both splits of the drawn world, with their texts."""
    opened = open_domain(domain, "drawn", None, classes, images, 56, seed)
    return [q for q in opened.questions() if q.question_type == 2], opened.offline_texts(1)


@pytest.mark.parametrize("domain", DOMAINS)
def test_four_classes_share_a_questions_options_and_each_option_is_right_once(domain):
    questions, _ = _knowledge(domain, images=2)
    groups = {}
    for question in questions:
        groups.setdefault((question.split, question.category, *sorted(question.options)), []).append(question)
    for (_, _, *options), group in groups.items():
        assert Counter(question.right_option for question in group) == dict.fromkeys(options, len(group) // 4)
        assert len({question.question for question in group}) == 1  # so without the image nothing tells them apart
    assert Counter(question.category for question in questions) == dict.fromkeys(say._FACTS[domain], 80)


@pytest.mark.parametrize("domain", DOMAINS)
def test_who_knows_the_texts_and_not_the_image_is_right_in_a_quarter_of_type_2(domain):
    """Half of the butterflies live in forests; with wrong options drawn at random the prior was right in 57 %."""
    blind = {prior: [], most_frequent_option: [], longest_option: []}
    for seed in range(5):
        questions, texts = _knowledge(domain, 2, seed)
        for split in ("test", "dev"):
            asked = [question for question in questions if question.split == split]
            assert len(asked) == 200
            assert sum(row["correct"] for row in prior(asked, texts, domain)) in range(48, 53)  # but for ties, 50
            for baseline, scores in blind.items():
                given = (asked, texts) if baseline is prior else (asked,)
                scores += [row["correct"] for row in baseline(*given, domain)]
    assert {baseline.__name__: 100 * sum(s) / len(s) for baseline, s in blind.items()} == pytest.approx(
        dict.fromkeys(("prior", "most_frequent_option", "longest_option"), 25), abs=1.7
    )


@pytest.mark.parametrize("images", range(1, 6))
def test_however_many_images_each_asks_a_class_for_another_fact(images):
    for classes in (4, 7, None):
        questions, _ = _knowledge("culture", images, classes=classes)
        asked = Counter((q.split, q.class_id, q.category) for q in questions)
        assert len(asked) == len(questions) == 2 * images * (classes or 100)
        facts = {thing.class_id: thing.facts for thing in drawn.load_classes("culture")}
        assert all(q.right_option == facts[q.class_id][q.category] for q in questions)


def test_the_questions_of_a_seed_stay_as_they_were():
    """Published answers name these; the option order is part of a question."""
    first = open_domain("butterfly", "drawn", None, None, 2, 56, 0).questions()[0]
    assert (first.question_id, first.image) == ("adonis-test-0-type1", "images/test/adonis-0.png")
    assert first.options == ["Adonis", "Sootywing", "Purplish Copper", "Atala"]
