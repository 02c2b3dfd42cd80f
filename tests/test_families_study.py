"""The study of families around its members, with a stub: reading, asking, gates, tables, claims."""

import contextlib
import io
import random

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from helpers import paths
from helpers.config.families import CAPTIONS, CONTROL, TEXTS
from helpers.evaluation.run import write_answers
from helpers.families import gates, lessons, registry, study
from helpers.families.interface import Course, Member
from helpers.families.scenes import DOMAINS, lesson_classes, unseen
from helpers.results import families, families_page
from helpers.results.figures.families import families_figure, families_latex
from helpers.results.rules import contrast_table
from helpers.schemas import AnswerRow, ClassText, shuffled_question
from helpers.synthetic import language as say
from helpers.synthetic.invented import invent_classes

POOL_CLASSES = invent_classes("butterfly", 8, 0)


class Parrot(Member):
    """Keeps what it reads and compares words; of an image, it sees nothing."""

    key, title, family, source, idea, faithful = "clip", "Parrot", "backbone", "0", "It repeats.", "Not at all."
    lesson, reading, looking = Course(2, 4), Course(2, 4), Course(2, 4)
    speaks, names, draws = True, 20, True

    def build(self):
        self.read_about = {}
        return nn.Linear(1, 1)

    def lesson_loss(self, scenes):
        return self.model.weight.sum() ** 2

    def reading_loss(self, pairs, rng):
        assert all(pair.shown is None for pair in pairs)
        self.read_about |= {pair.naming: pair.description for pair in pairs}
        return self.model.weight.sum() ** 2

    looking_loss = lesson_loss

    def teach(self, seed=0, course=None):
        return [2.0, 1.0]

    def score(self, options, shown=None, words=None):
        if words is None:
            return torch.zeros(len(options), 4)
        alike = [
            [len({*w.split()} & {*self.read_about.get(o, "").split()}) for o in four]
            for four, w in zip(options, words, strict=True)
        ]
        return torch.tensor(alike, dtype=torch.float)

    def describe(self, shown):
        return ["This butterfly is a butterfly."] * len(shown)

    def draw(self, sentences, seed=0):
        return torch.linspace(-1, 1, len(sentences)).view(-1, 1, 1, 1).expand(-1, 3, 56, 56)


@pytest.fixture
def texts(tmp_path):
    """Eight classes in the words of captions, with images."""
    Image.new("RGB", (56, 56), "red").save(tmp_path / "red.png")
    return [
        ClassText(
            class_id=thing.name, name=f"the {thing.name}", domain="butterfly", background="It flies.", wording=0,
            appearance=say.describe("butterfly", thing.appearance, 0), writer="test", image="red.png",
        )
        for thing in POOL_CLASSES
    ]  # fmt: skip


@pytest.fixture
def asked(tmp_path, texts):
    """A question per class."""
    rng, names = random.Random(0), [thing.name for thing in POOL_CLASSES]
    questions = [
        shuffled_question(
            rng, [thing.name, *rng.sample([n for n in names if n != thing.name], 3)], domain="butterfly",
            question_id=thing.name, question_type=1, category="name", class_id=thing.name, question="Which?",
            image="red.png", split="test", answer_form="This is the {option}.",
            described=say.describe("butterfly", thing.appearance, say.HELD_OUT),
        )
        for thing in POOL_CLASSES
    ]  # fmt: skip
    return study.recognition(questions, tmp_path, "butterfly")


# ---- what is read ----------------------------------------------------------------------------------------------------


def test_levels_are_the_captions_own_words_and_the_data_sets(texts):
    assert study.at_level(texts, TEXTS) == texts
    with pytest.raises(ValueError, match="level is 'similes'; known: captions, texts"):
        study.at_level(texts, "similes")
    with pytest.raises(ValueError, match=r"needs drawn classes, and .* is none; use level texts"):
        study.at_level(texts, CAPTIONS)
    real = texts[0].model_copy(update={"class_id": "monarch", "appearance": "other words"})
    assert study.at_level([real], CAPTIONS)[0].appearance.startswith("This butterfly has ")


def test_in_the_control_every_name_has_another_description_and_all_else_is_kept(tmp_path, texts):
    plain, control = (study.pairs_of(texts, tmp_path, shuffled) for shuffled in (False, True))
    assert [pair.naming for pair in plain] == [pair.naming for pair in control]
    assert sorted(pair.description for pair in plain) == sorted(pair.description for pair in control)
    assert all(one.description != other.description for one, other in zip(plain, control, strict=True))
    assert all(torch.equal(one.shown, other.shown) for one, other in zip(plain, control, strict=True))
    with pytest.raises(ValueError, match="1 texts: the control needs two classes"):
        study.pairs_of(texts[:1], tmp_path, shuffled=True)


# ---- how it is asked -------------------------------------------------------------------------------------------------


def test_answers_are_rows_of_the_project_and_what_was_read_is_known_in_words(tmp_path, texts, asked):
    member = Parrot()
    member.read(study.pairs_of(texts, tmp_path), course=Course(2, 8))
    run = asked.run("text_only", CAPTIONS, model="clip", seed=1)
    rows = [AnswerRow(**row) for row in study.told_in_words(member, asked, run)]
    assert {(row.image, row.variant, row.seed, row.protocol) for row in rows} == {
        ("described", CAPTIONS, 1, "option_score")
    }
    assert all(row.correct for row in rows) and len(rows) == 8
    direct, first = (study.answers(member, asked, run, said=["x"] * 8)[part] for part in (slice(0, 8), slice(8, 16)))
    assert {row["answering"] for row in direct} == {"direct"} and {row["description"] for row in direct} == {None}
    assert {row["answering"] for row in first} == {"describe_then_answer"} and {
        row["description"] for row in first
    } == {"x"}


def test_before_reading_it_is_asked_by_name_and_beside_it_stand_what_needs_no_training(texts, asked):
    rows = study.untrained(Parrot(), asked, texts, [TEXTS], Parrot().describe(asked.shown))
    found = {(row["mode"], row["variant"], row["answering"]) for row in rows}
    assert found == {
        ("base", "main", "direct"),
        ("base", "main", "describe_then_answer"),
        ("dictionary", TEXTS, "direct"),
    }
    assert {row["seed"] for row in rows} == {0}


def test_nothing_but_questions_of_type_1_with_an_image_is_asked(tmp_path, asked):
    other = asked.questions[0].model_copy(update={"question_type": 2})
    with pytest.raises(ValueError, match="domain butterfly: none of 1 questions is of Type 1"):
        study.recognition([other], tmp_path, "butterfly")
    few = study.recognition([other, *asked.questions], tmp_path, "butterfly", limit=3)
    assert len(few.questions) == len(few.shown) == 3 and len(few.of) == 9


def test_scores_of_another_shape_are_refused(asked):
    with pytest.raises(ValueError, match=r"clip: scores are \(8, 3\), not 8 questions x 4"):
        study.scored(asked, torch.zeros(8, 3), asked.run("base", model="clip"))


def test_a_drawing_is_judged_by_the_descriptions_of_the_options(texts, asked):
    class Judge(Parrot):
        def by_description(self, options, shown):
            number = {text.appearance: place for place, text in enumerate(texts)}
            levels = torch.linspace(-1, 1, len(texts))
            wanted = torch.stack([levels[[number[option] for option in four]] for four in options])
            return -(wanted - shown.mean(dim=(1, 2, 3))[:, None]).abs()

    drawn = study.drawings(Parrot(), texts, seed=0)
    rows = study.judged_drawings(Judge(), drawn, asked, texts, asked.run("text_only", TEXTS, model="clip"))
    assert all(AnswerRow(**row).correct for row in rows) and {row["answering"] for row in rows} == {"draw"}
    with pytest.raises(ValueError, match="Parrot compares no description with an image"):
        study.judged_drawings(Parrot(), drawn, asked, texts, asked.run("base"))
    assert study.gallery([*drawn.values()], columns=4).size == (240, 120)


# ---- gates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_the_parts_of_a_caption_are_read_in_every_wording(domain):
    for thing in invent_classes(domain, 30, 1):
        true = say.phrases(say.VOCABULARIES[domain], thing.appearance)
        for wording in range(len(say.DESCRIPTIONS[domain])):
            read = gates.said_parts(domain, say.describe(domain, thing.appearance, wording))
            assert read and all(true[part] == phrase for part, phrase in read.items())
    assert gates.said_parts(domain, "It is nice.") == {}


def test_the_gate_of_captions_counts_parts_or_choices():
    things = unseen(20, domains=["butterfly"]).things

    class Writer(Parrot):
        def describe(self, shown):
            return [say.describe(t.domain, t.appearance, 1) if i < 10 else "?" for i, t in enumerate(things)]

    class Chooser(Parrot):
        speaks = False

        def by_description(self, options, shown):
            true = [say.describe(thing.domain, thing.appearance, 0) for thing in things]
            return torch.tensor([[float(o == one) for o in four] for four, one in zip(options, true, strict=True)])

    right = gates.parts_said(Writer(), 20)
    assert sum(right) == 10 * 7 and len(right) == 20 * 7
    assert gates.parts_chosen(Chooser(), 20) == [True] * 20
    assert gates.parts_chosen(Parrot(), 20) == []
    assert list(gates.gates_before(Chooser(), 20)["gate"]) == ["caption parts", "known classes"]


def test_known_classes_are_those_that_the_lesson_names():
    known = gates.known_classes(10, named=6)
    names = {thing.name for domain in DOMAINS for thing in lesson_classes(domain, 6)}
    assert all(set(question.options) <= names for question in known.questions)
    assert len(known.questions) == len(known.shown) == 10


def test_a_lesson_leaves_a_checkpoint_and_a_line_which_a_second_one_replaces(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lessons, "member_class", lambda key: Parrot)
    for seed in ("0", "1"):
        lessons.main(["clip", "--output", str(tmp_path), "--steps", "2", "--seed", seed])
    (line,) = pd.read_csv(tmp_path / "lessons.csv").to_dict("records")
    assert (line["member"], line["seed"], line["steps"]) == ("clip", 1, 2)
    assert line["caption parts %"] == 0 and line["last_loss"] == 1
    assert (tmp_path / "clip.safetensors").is_file()
    with pytest.raises(ValueError, match="member is 'blip'; known: clip"):
        lessons.main(["clip", "blip"])


# ---- the registry and the page ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", registry.members())
def test_a_member_of_the_registry_says_what_it_is(key):
    kind = registry.member_class(key)
    assert kind.key == key and kind.family == registry.family_of_member(key)
    assert kind.title and kind.source and kind.faithful.endswith(".")
    assert kind.idea.count(". ") == 2 and kind.idea.endswith(".")


def test_the_page_is_that_of_its_source():
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        families_page.main()
    assert said.getvalue() == (paths.ROOT / "docs/families.md").read_text(encoding="utf-8"), (
        "make it again: python -m helpers.results.families_page > docs/families.md"
    )


# ---- the table, the figure, the claims -------------------------------------------------------------------------------


@pytest.fixture
def rows(asked):
    """CLIP reads well, and its control does not."""
    found = []
    for seed in (0, 1):
        for mode, variant, right in (
            ("base", "main", 2), ("by_description", CAPTIONS, 8), ("text_only", CAPTIONS, 8),
            ("text_only", CAPTIONS + CONTROL, 1), ("image_text", "main", 8),
        ):  # fmt: skip
            scores = torch.tensor(
                [[float((o == q.answer) == (n < right)) for o in range(4)] for n, q in enumerate(asked.questions)]
            )
            untrained = mode in ("base", "by_description")
            found += study.scored(asked, scores, asked.run(mode, variant, model="clip", seed=0 if untrained else seed))
    return pd.DataFrame(found)


def test_the_table_counts_what_is_not_trained_once_and_puts_the_projects_own_beside(tmp_path, rows):
    files = [tmp_path / "0.jsonl", tmp_path / "1.jsonl"]
    for file, part in zip(files, (rows[:40], rows[40:]), strict=True):
        write_answers(file, part.to_dict("records"))
    answered = families.family_answers(files)
    assert len(answered) == 8 * (2 + 3 * 2)
    own = pd.read_csv(paths.FIGURES / "demo/table1.csv")
    table = families.families_table(answered, own)
    assert list(table["model"].unique()) == ["clip", "llava_next", "qwen2_vl"]
    of_clip = table[table["model"] == "clip"].set_index(["mode", "variant"])
    assert of_clip.loc[("text_only", CAPTIONS), ["seeds", "n_type1", "type1"]].tolist() == [2, 8, 100]
    assert set(table[(table["model"] == "qwen2_vl") & (table["mode"] == "text_only")]["variant"]) == {TEXTS}
    short = families.in_short(table, "butterfly")
    assert {"untuned", f"shuffled: {CAPTIONS}", "image + text"} <= set(short.columns)
    assert len(families_figure(table).axes) == 4
    assert families_latex(table).count(r"\begin{tabular}") == 2


def test_what_was_claimed_is_judged_on_paired_answers(rows):
    once = rows.drop_duplicates(["mode", "variant", "seed", "question_id"])
    table = contrast_table(families.RULES_OF_FAMILIES, once)
    above = table[table["relation"] == "above"]
    assert above["difference"].tolist() == [87.5]
    assert len(table) == 3  # above shuffled; not below by description; not below image + text


def test_without_a_published_table_nothing_is_claimed(tmp_path):
    assert families.family_claims(tmp_path, checked=None) == []
