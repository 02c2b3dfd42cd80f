"""Answers are scored as the protocol says; unreadable replies are wrong; what is shown is what was asked for."""

import dataclasses
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from helpers.config.evaluation import Evaluation
from helpers.config.prompts import evaluation_prompts, of_domain
from helpers.evaluation import baselines, run, strategies
from helpers.evaluation.prompts import GREY, Prompt, Shown, other_images, without_centre
from helpers.evaluation.protocols import (
    choose_option,
    guided,
    letter_forms,
    read_letter,
    right_in_all,
    rotations,
)
from helpers.evaluation.reader import Likelihood, Reader, Reply
from helpers.evaluation.strategies import Exam, answer_all
from helpers.images import open_image
from helpers.models.loading import load_model, load_processor
from helpers.results.tables import ANSWER_COLUMNS
from helpers.schemas import Question, questions_hash
from helpers.synthetic import language as say


@pytest.mark.parametrize(
    ("reply", "option"),
    [("A", 0), ("b", None), ("(C)", 2), ("D.", 3), (" B ", 1), ("A dog", None), ("", None), ("AB", None), ("E", None)],
)
def test_only_a_bare_letter_is_read(reply, option):
    assert read_letter(reply) == option


def test_options_are_listed_behind_their_letters():
    asked = evaluation_prompts().with_letters("Which?", ["w", "x", "y", "z"])
    assert asked.splitlines()[:5] == ["Which?", "A. w", "B. x", "C. y", "D. z"]


class Scripted(Reader):
    """A reader whose model is a script: it likes the longest answer, writes what it is told, and remembers."""

    def __init__(self, write):
        tokenizer = SimpleNamespace(added_tokens_decoder={}, all_special_tokens=["<end>"])
        super().__init__(None, SimpleNamespace(tokenizer=tokenizer), batch_size=2, max_new_tokens=8)
        self.tell = write if callable(write) else lambda prompt: write
        self.asked = []

    def likelihoods(self, prompts, answers, what):
        self.asked.extend(prompts)
        return [[Likelihood(float(len(answer)), 2) for answer in several] for several in answers]

    def likeliest(self, prompts, answers, what):
        self.asked.extend(prompts)
        return [max(answers, key=len) for _ in prompts]

    def replies(self, prompts, what, max_new_tokens=None):
        self.asked.extend(prompts)
        return [Reply(self.tell(prompt), 2) for prompt in prompts]


@pytest.fixture
def exam(butterflies):
    appearances = {text.class_id: text.appearance for text in butterflies.texts}
    names = {text.class_id: text.name for text in butterflies.texts}
    return Exam(butterflies.questions, butterflies.folder, appearances=appearances, names=names)


def settings(**changes):
    usual = dict(
        protocols=["option_likelihood"],
        circular=False,
        answering=["direct"],
        ablation_images=[],
        representations=False,
        guidance=1.0,
        batch_size=4,
        max_new_tokens=8,
        dtype="float32",
        max_pixels=None,
    )
    return Evaluation(**(usual | changes))


RUN = {"model": "m", "domain": "butterfly", "mode": "base", "variant": "main", "seed": 0}


# ---- models that are broken on purpose get exactly what the questions give ----------------------------------------


def test_a_model_that_always_says_a_is_right_where_a_is_right(exam):
    rows = answer_all(Scripted("A"), exam, "with", "direct", "letter")
    assert [row["correct"] for row in rows] == [question.answer == 0 for question in exam.questions]


def test_a_model_that_always_says_a_is_never_right_in_all_rotations(butterflies):
    exam = Exam(butterflies.questions, butterflies.folder, circular=True)
    rows = answer_all(Scripted("A"), exam, "with", "direct", "letter")
    assert not any(row["correct"] for row in rows)
    assert {tuple(row["rotation_parsed"]) for row in rows} == {(0, 1, 2, 3)}
    assert {row["new_tokens"] for row in rows} == {8}


def test_a_model_that_knows_is_right_in_all_rotations(butterflies):
    exam = Exam(butterflies.questions, butterflies.folder, circular=True)
    right = {(q.question, option) for q in exam.questions for option in [q.right_option]}

    def know(prompt):
        question, *lines, _ = prompt.text.splitlines()
        return next(
            line[0]
            for line in lines
            if (question, line[3:]) in right and line[3:] in wanted[prompt.image.path, question]
        )

    wanted = {}
    for q in exam.questions:
        wanted.setdefault((exam.folder / q.image, q.question), set()).add(q.right_option)
    rows = answer_all(Scripted(know), exam, "with", "direct", "letter")
    assert all(row["correct"] for row in rows)


@pytest.mark.parametrize("circular", [False, True])
def test_a_model_that_likes_the_longest_gets_the_longest(butterflies, circular):
    exam = Exam(butterflies.questions, butterflies.folder, circular=circular)
    rows = answer_all(Scripted(""), exam, "without", "direct", "option_likelihood")
    assert [row["parsed"] for row in rows] == [
        max(range(4), key=lambda i, q=question: len(q.sentences()[i])) for question in exam.questions
    ]


def test_an_unreadable_letter_is_wrong_and_saved(exam):
    rows = answer_all(Scripted("Well"), exam, "with", "direct", "letter")
    assert all(row["parsed"] is None and row["correct"] is False and row["reply"] == "Well" for row in rows)


def test_chance_is_a_quarter_of_what_a_blind_model_gets_over_all_four_letters(exam):
    right = sum(
        row["correct"] for letter in "ABCD" for row in answer_all(Scripted(letter), exam, "with", "direct", "letter")
    )
    assert right == len(exam.questions)


# ---- protocols -------------------------------------------------------------------------------------------------------


def test_the_mean_forgives_length():
    class Two(Scripted):
        def likelihoods(self, prompts, answers, what):
            return [
                [Likelihood(-4.0, 2), Likelihood(-6.0, 6), Likelihood(-9.0, 3), Likelihood(-9.0, 1)] for _ in prompts
            ]

    asked = (Two(""), [Prompt("Which?")], [["a", "b", "c", "d"]], [0])
    assert [choose_option(p, *asked)[0].parsed for p in ("option_likelihood", "option_likelihood_normalised")] == [0, 1]
    assert choose_option("option_likelihood_normalised", *asked)[0].scores == [-2.0, -1.0, -3.0, -9.0]


def test_right_means_right_in_all_rotations():
    assert rotations("wxyz", True) == [list("wxyz"), list("xyzw"), list("yzwx"), list("zwxy")]
    assert [right_in_all(each, 2) for each in ([2, 2, 2, 2], [2, 1, 2, 0], [2, None, 2, 1])] == [2, 1, None]


def test_guidance_counts_what_the_hidden_region_adds():
    assert guided([[-1.0, -2.0]], [[-1.0, -3.0]], 0.5) == [[-1.0, -1.5]]
    with pytest.raises(ValueError, match="protocols that can: option_likelihood"):
        choose_option("letter", Scripted(""), [Prompt("x")], [list("abcd")], [0], against=[Prompt("x")])


def test_letters_are_compared_as_the_template_writes_them(model_path, butterflies):
    reader = Reader(load_model(model_path, four_bit=False)[0], load_processor(model_path), 4, 8)
    forms = letter_forms(reader)
    assert forms[0].text == ("A" if "qwen" in str(model_path) else " A")
    questions = butterflies.questions[:3]
    exam = Exam(questions, butterflies.folder, circular=True)
    rows = answer_all(reader, exam, "with", "direct", "letter_likelihood")
    for row, question in zip(rows, questions, strict=True):
        assert row["letter_form"] == forms[0].text
        for by in range(4):
            turned = Prompt(
                evaluation_prompts().with_letters(question.question, rotations(question.options, True)[by]),
                Shown(exam.folder / question.image),
            )
            by_hand = [x[-1] for x in reader.log_probabilities([turned], [forms[0].tokens], "test")[0]]
            assert [row["rotation_scores"][by][(i + by) % 4] for i in range(4)] == pytest.approx(by_hand, abs=1e-4)
    assert all(row["reply"] is None and row["new_tokens"] == 0 for row in rows)


@pytest.mark.parametrize("tokens", [{"D": [4, 9]}, {"D": [3]}])
def test_letters_that_are_not_one_token_each_cannot_be_compared(tokens):
    reader = Scripted("")
    reader.continuation = {"A": [1], "B": [2], "C": [3], "D": [4], **tokens}.__getitem__
    with pytest.raises(
        ValueError, match=r"the letters A, B, C, D are not one token each in this model .*; use `letter`"
    ):
        letter_forms(reader)


# ---- what is shown ---------------------------------------------------------------------------------------------------


def test_each_state_of_the_picture_shows_what_it_says(exam):
    shown = {}
    for image in ("with", "without", "blank", "other", "described", "named", "guided"):
        reader = Scripted("")
        answer_all(reader, exam, image, "direct", "option_likelihood")
        shown[image] = reader.asked
    question = exam.questions[0]
    assert shown["with"][0].image.open().tobytes() == open_image(exam.folder / question.image).tobytes()
    assert {p.image for p in shown["without"] + shown["described"] + shown["named"]} == {None}
    assert shown["blank"][0].image.open().getcolors() == [(56 * 56, GREY)]
    assert shown["blank"][0].image.open().size == shown["with"][0].image.open().size
    assert shown["described"][0].text == f"{question.described}\n{question.question}"
    assert [p.image.change for p in shown["guided"]] == ["none"] * len(exam.questions) + ["without_centre"] * len(
        exam.questions
    )


def test_the_other_picture_is_of_another_class_and_each_is_used_once(butterflies):
    others = other_images(butterflies.questions)
    classes = {q.image: q.class_id for q in butterflies.questions}
    assert sorted(others) == sorted(others.values()) == sorted(classes)
    assert all(classes[own] != classes[other] for own, other in others.items())
    assert others == other_images(butterflies.questions) != other_images(butterflies.questions, seed=1)


def test_pictures_of_one_class_cannot_be_exchanged(butterflies):
    one = [q for q in butterflies.questions if q.class_id == butterflies.questions[0].class_id]
    with pytest.raises(ValueError, match="ask about more classes"):
        other_images(one)


def test_the_middle_is_hidden_and_the_rest_is_not(butterflies):
    image = open_image(butterflies.folder / butterflies.questions[0].image)
    hidden = without_centre(image)
    assert hidden.getpixel((28, 28)) == hidden.getpixel((14, 14)) == GREY
    assert hidden.crop((0, 0, 56, 14)).tobytes() == image.crop((0, 0, 56, 14)).tobytes()


def test_where_the_question_does_not_say_what_the_image_shows_the_class_s_text_does(exam):
    silent = [question.model_copy(update={"described": None}) for question in exam.questions]
    reader = Scripted("")
    answer_all(reader, dataclasses.replace(exam, questions=silent), "described", "direct", "option_likelihood")
    first = exam.questions[0]
    assert reader.asked[0].text == f"{exam.appearances[first.class_id]}\n{first.question}"


@pytest.mark.parametrize(("image", "lacks"), [("described", "description"), ("named", "name")])
def test_a_class_without_description_or_name_is_named(exam, image, lacks):
    with pytest.raises(ValueError, match=f"has no {lacks}, and image '{image}' shows one"):
        silent = [question.model_copy(update={"described": None}) for question in exam.questions]
        answer_all(Scripted(""), Exam(silent, exam.folder), image, "direct", "option_likelihood")


def test_the_ceiling_asks_type_2_alone_of_the_true_name(exam):
    reader = Scripted("")
    rows = answer_all(reader, exam, "named", "direct", "option_likelihood")
    knowledge = [question for question in exam.questions if question.question_type == 2]
    assert [row["question_id"] for row in rows] == [question.question_id for question in knowledge]
    for question, prompt in zip(knowledge, reader.asked, strict=True):
        assert exam.names[question.class_id] in prompt.text
        assert "this butterfly" not in prompt.text
    plain = knowledge[0].model_copy(update={"refers": None})
    assert strategies.scored_prompts(replace(exam, questions=[plain]), "named", "direct", "option_likelihood") == [
        Prompt(f"This is {exam.names[plain.class_id]}.\n{plain.question}")
    ]


@pytest.mark.parametrize("wrong", [{"answering": "loudly"}, {"protocol": "dice"}, {"image": "maybe"}])
def test_unknown_values_are_refused_with_those_known(exam, wrong):
    right = {"image": "with", "answering": "direct", "protocol": "letter"}
    with pytest.raises(ValueError, match="known: "):
        answer_all(Scripted("A"), exam, **{**right, **wrong})


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (
            {"image": "described", "answering": "describe_then_answer"},
            "image 'described' is only asked directly, not with",
        ),
        ({"image": "named", "answering": "describe_then_answer"}, "image 'named' is only asked directly, not with"),
        (
            {"image": "guided", "protocol": "letter"},
            "image 'guided' weights scores, and protocol 'letter' has none",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_asked(exam, what, said):
    reader = Scripted("A")
    with pytest.raises(ValueError, match=said):
        answer_all(reader, exam, **{"image": "with", "answering": "direct", "protocol": "letter"} | what)
    assert reader.asked == []


# ---- describing first ------------------------------------------------------------------------------------------------


def test_describing_first_saves_the_own_words_and_the_likeliest_name_for_type_2_only(exam):
    reader = Scripted("It is orange.")
    rows = answer_all(reader, exam, "with", "describe_then_answer", "option_likelihood")
    longest = max(exam.names.values(), key=len)
    assert {row["description"] for row in rows} == {"It is orange."}
    assert {(row["question_type"], row["named"], row["named_by"], row["new_tokens"]) for row in rows} == {
        (1, None, None, 2),
        (2, longest, "likelihood", 2),
    }
    assert [row["name_correct"] for row in rows] == [
        exam.names[q.class_id] == longest if q.question_type == 2 else None for q in exam.questions
    ]
    assert sum(longest in prompt.text for prompt in reader.asked) == len(exam.questions) // 2


@pytest.mark.parametrize(("form", "parses"), [("{}", True), ("{} ", True), ("a fact, not {}", False)])
def test_free_text_is_a_name_only_if_the_data_set_has_it(exam, form, parses):
    """ "It is made of herbs." was once taken for a name."""
    name = next(iter(exam.names.values()))
    said = f"It is {form.format(name.upper().removeprefix('THE '))}. It is large."
    rows = answer_all(
        Scripted(said), replace(exam, name_by="free_text"), "with", "describe_then_answer", "option_likelihood"
    )
    assert {(row["named"], row["named_by"], row["new_tokens"]) for row in rows if row["question_type"] == 2} == {
        (name if parses else None, "free_text", 4)
    }
    (nothing,) = {
        row["name_correct"]
        for row in answer_all(
            Scripted(said), replace(exam, names={}), "with", "describe_then_answer", "option_likelihood"
        )
    }
    assert nothing is None  # without the data set's names, whatever is written counts, and none is right or wrong


def test_the_description_is_of_what_is_shown(exam):
    reader = Scripted("It is grey.")
    answer_all(reader, exam, "blank", "describe_then_answer_tuned", "option_likelihood")
    assert {p.image.change for p in reader.asked if p.image} == {"blank"}


@pytest.mark.parametrize(
    ("answering", "kept"), [("describe_then_answer", False), ("describe_then_answer_image_kept", True)]
)
def test_after_describing_the_image_is_dropped_or_kept_in_every_prompt(butterflies, answering, kept):
    kinds = [next(q for q in butterflies.questions if q.question_type == kind) for kind in (1, 2)]
    for question, prompts in zip(kinds, (1, 2), strict=True):  # Type 2 also asks for the name
        reader = Scripted("It is orange.")
        exam = Exam([question], butterflies.folder)
        answer_all(reader, exam, "with", answering, "option_likelihood")
        describing, *later = reader.asked
        assert describing.image is not None
        assert len(later) == prompts
        assert sum(prompt.image == describing.image for prompt in later) == prompts * kept
        assert later[0].text.startswith("It is orange.")
        without = Scripted("It is orange.")
        answer_all(without, exam, "without", answering, "option_likelihood")
        assert [prompt.image for prompt in without.asked] == [None] * (1 + prompts)
        assert [prompt.text for prompt in without.asked] == [prompt.text for prompt in reader.asked]


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ("This is the Monarch. It flies.", "the Monarch"),
        ("It is kimchi", "kimchi"),
        ("Gayageum.", "Gayageum"),
        ("", None),
    ],
)
def test_a_name_is_read_from_its_sentence(reply, name):
    assert strategies.read_name(reply) == name


def test_the_knowledge_question_is_asked_of_the_name(butterflies, exam):
    question = next(q for q in butterflies.questions if q.question_type == 2)
    asked = strategies._question_on_words(exam, question, strategies.Words("It is orange.", "the Monarch"))
    assert "the Monarch" in asked
    assert "this butterfly" not in asked
    plain = question.model_copy(update={"refers": None})
    assert strategies._question_on_words(exam, plain, strategies.Words("It is orange.", "the Monarch")) == (
        f"It is orange.\nThis is the Monarch.\n{question.question}"
    )
    assert strategies._question_on_words(exam, plain, strategies.Words("It is orange.", None)) == (
        f"It is orange.\n{question.question}"
    )


# ---- description and answer in one reply ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "chain"),
    [
        ("The wings are red. This is the Monarch. It flies.", ("The wings are red.", "the Monarch")),
        ("This is Kimchi.", ("", "Kimchi")),
        ("This object is a bowl. It is red. This is Sin Gu.", ("This object is a bowl. It is red.", "Sin Gu")),
        ("The wings are red. This is the Mon", ("The wings are red.", None)),
        ("The wings are red and", ("The wings are red and", None)),
    ],
)
def test_description_and_name_are_read_from_one_reply(reply, chain):
    assert strategies.read_chain(reply) == chain


def test_a_chain_is_asked_once_with_the_image_and_an_option_follows_the_models_own_words(butterflies, exam):
    reader = Scripted("It is red. This is the Monarch. It flies.")
    offered = []
    reader.likelihoods = lambda prompts, answers, what: (
        offered.extend(zip(prompts, answers, strict=True)) or [[Likelihood(0.0, 1)] * 4 for _ in answers]
    )
    rows = answer_all(reader, exam, "with", "one_pass_chain", "option_likelihood")
    assert reader.asked == [prompt for prompt, _ in offered]  # the same prompt writes and is scored
    for question, (prompt, answers), row in zip(exam.questions, offered, rows, strict=True):
        begun = "It is red." if question.question_type == 1 else "It is red. This is the Monarch."
        assert answers == [f"{begun} {sentence}" for sentence in question.sentences()]
        assert (prompt.text, prompt.image.path) == (question.question, exam.folder / question.image)
        assert (row["description"], row["named"], row["new_tokens"]) == ("It is red.", "the Monarch", 2)


@pytest.mark.parametrize("protocol", ["letter", "letter_likelihood", "option_likelihood_normalised"])
def test_a_chain_is_scored_by_likelihood_alone(exam, protocol):
    with pytest.raises(ValueError, match="is read by protocol option_likelihood only, not"):
        answer_all(Scripted("A"), exam, "with", "one_pass_chain", protocol)


# ---- a run -----------------------------------------------------------------------------------------------------------


def test_a_run_asks_everything_that_goes_together_and_times_it(exam):
    asked = settings(protocols=["option_likelihood", "letter"], answering=["direct", "describe_then_answer"])
    rows, timings = run.answer_rows(
        Scripted("A"), exam.questions, exam.folder, ["with", "guided"], asked, RUN, exam.appearances
    )
    assert list(timings) == [
        "direct/option_likelihood/with",
        "direct/letter/with",
        "describe_then_answer/option_likelihood/with",
        "describe_then_answer/letter/with",
        "direct/option_likelihood/guided",
    ]
    assert timings["describe_then_answer/letter/with"]["questions"] == len(exam.questions)
    assert timings["direct/letter/with"]["new_tokens"] == 2 * len(exam.questions)
    assert {"seconds", "compute_seconds", "compute_of"} < set(timings["direct/letter/with"])
    assert {*ANSWER_COLUMNS, "variant", "new_tokens"} <= set(rows[0])
    assert "seconds" not in rows[0]


def test_nothing_left_to_ask_is_an_error(exam):
    with pytest.raises(ValueError, match="nothing can be asked with image 'guided'"):
        run.answer_rows(Scripted("A"), exam.questions, exam.folder, ["guided"], settings(protocols=["letter"]), RUN)


def test_questions_with_a_special_token_are_refused_before_anything_is_asked(exam):
    odd, reader = exam.questions[0].model_copy(update={"question": "What <end> is it?"}), Scripted("A")
    with pytest.raises(ValueError, match=rf"question '{odd.question_id}' holds '<end>', a special token of the model"):
        run.answer_rows(reader, [odd], exam.folder, ["with"], settings(protocols=["letter"]), RUN)
    assert reader.asked == []


def test_a_description_is_written_once_for_all_protocols(exam):
    reader = Scripted("It is orange.")
    asked = settings(
        protocols=["option_likelihood", "option_likelihood_normalised"], answering=["describe_then_answer"]
    )
    run.answer_rows(reader, exam.questions, exam.folder, ["with"], asked, RUN)
    images = {question.image for question in exam.questions}
    assert sum(prompt.image is not None for prompt in reader.asked) == len(images)


def test_rows_and_timings_are_read_back(exam, tmp_path):
    rows, timings = run.answer_rows(Scripted("A"), exam.questions, exam.folder, ["without"], settings(), RUN)
    run.write_answers(tmp_path / "answers.jsonl", rows)
    run.write_timings(tmp_path / "timings.json", timings)
    kept = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [{name: row[name] for name in asked} for row, asked in zip(kept, rows, strict=True)] == rows
    assert {row["dataset_hash"] for row in kept} == {questions_hash(exam.questions)}
    assert json.loads((tmp_path / "timings.json").read_text()) == timings


def test_a_row_with_a_field_that_no_table_knows_is_not_written(exam, tmp_path):
    rows, _ = run.answer_rows(Scripted("A"), exam.questions, exam.folder, ["with"], settings(), RUN)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        run.write_answers(tmp_path / "answers.jsonl", [*rows[:1], rows[1] | {"dataset_hsah": "0"}])
    assert list(tmp_path.iterdir()) == []


def test_a_question_is_described_and_named_in_the_language_of_its_domain_whatever_words_it_uses(exam):
    asked = exam.questions[0].model_copy(update={"refers": None})
    prompts = exam.prompts
    assert of_domain(prompts.describing, asked.domain) == say.DESCRIBING["butterfly"][say.HELD_OUT]
    assert strategies.naming_question(asked, prompts) == say.NAMING["butterfly"].asked[say.HELD_OUT]
    elsewhere = exam.questions[0].model_copy(update={"domain": "kviscuit"})
    assert of_domain(prompts.describing, elsewhere.domain).startswith("Describe what you see in the picture: form")
    assert strategies.naming_question(elsewhere, prompts) == "What do people call this?"


def test_retention_is_asked_directly_where_there_are_questions(butterflies, tmp_path):
    assert run.retention_rows(Scripted(""), [], tmp_path, settings(), RUN) is None
    text_only = [q.model_copy(update={"image": None}) for q in butterflies.questions[:3]]
    rows, _ = run.retention_rows(Scripted(""), text_only, tmp_path, settings(answering=["describe_then_answer"]), RUN)
    assert [row["answering"] for row in rows] == ["direct"] * 3


def test_a_class_has_the_look_of_its_first_text(butterflies, tmp_path):
    from helpers.schemas import write_texts

    with pytest.raises(FileNotFoundError, match=r"no texts\.jsonl"):
        run.read_appearances(tmp_path)
    first = [text.model_copy(update={"image": None}) for text in butterflies.texts]
    second = [text.model_copy(update={"wording": 1, "appearance": "Another wording."}) for text in first]
    write_texts(tmp_path / "texts.jsonl", [*first, *second])
    assert run.read_appearances(tmp_path) == {text.class_id: text.appearance for text in butterflies.texts}
    rows, _ = run.answer_rows(Scripted(""), butterflies.questions, tmp_path, ["named"], settings(), RUN)
    assert {(row["image"], row["question_type"]) for row in rows} == {("named", 2)}  # names are read there too


# ---- baselines -------------------------------------------------------------------------------------------------------


def made(number, options, answer):
    return Question(
        domain="d",
        question_id=f"q{number}",
        question_type=1,
        category="name",
        class_id=None,
        question="Which?",
        options=options,
        answer=answer,
        image=None,
        split="test",
    )


def test_blind_baselines_are_what_the_options_say():
    questions = [
        made(0, ["aa", "b", "ccc", "d"], 2),
        made(1, ["b", "x", "y", "zz"], 0),
        made(2, ["m", "b", "n", "o"], 1),
    ]
    assert [row["parsed"] for row in baselines.longest_option(questions, "d")[:2]] == [2, 3]
    frequent = baselines.most_frequent_option(questions, "d")
    assert [row["options"][row["parsed"]] for row in frequent] == ["b", "b", "b"]
    assert {*ANSWER_COLUMNS, "variant", "new_tokens"} <= set(frequent[0])
    assert {(row["model"], row["mode"]) for row in frequent} == {("baseline", "most_frequent_option")}


def test_the_option_alone_is_asked_with_nothing(exam):
    reader = Scripted("")
    rows = baselines.option_only(reader, exam.questions, RUN)
    assert {(prompt.text, prompt.image) for prompt in reader.asked} == {("", None)}
    assert {(row["answering"], row["image"]) for row in rows} == {("option_only", "without")}


def test_the_prior_is_the_option_that_the_texts_mention_most(butterflies):
    texts = [t.model_copy(update={"background": "It lives in meadows."}) for t in butterflies.texts]
    question = butterflies.questions[0].model_copy(
        update={"question_type": 2, "options": ["caves", "meadows", "ponds", "roofs"], "answer": 0}
    )
    (row,) = baselines.prior([question], texts, "butterfly")
    assert (row["parsed"], row["mode"], row["image"], row["correct"]) == (1, "prior", "without", False)


def test_a_dictionary_names_the_class_whose_text_is_most_like_the_models_words(butterflies):
    first, second = butterflies.texts[:2]
    texts = [
        first.model_copy(update={"name": "the Ant", "appearance": "It has red wings.", "background": "It eats figs."}),
        second.model_copy(
            update={"name": "the Bee", "appearance": "It has blue wings.", "background": "It eats kelp."}
        ),
    ]
    asked = butterflies.questions[0].model_copy(update={"options": ["Ant", "Bee", "Cat", "Dog"], "answer": 1})
    fact = asked.model_copy(update={"question_id": "f", "question_type": 2, "options": ["kelp", "figs", "hay", "oil"]})
    words = {asked.question_id: "Its wings are blue.", "f": "Its wings are red."}
    run = {"model": "m", "domain": "butterfly", "mode": "dictionary", "variant": "main", "seed": 0}
    rows = baselines.dictionary([asked, fact], texts, words, run)
    assert [row["options"][row["parsed"]] for row in rows] == ["Bee", "figs"]
    assert baselines.dictionary([asked], texts, {}, run) == []


def test_the_options_descriptions_are_told_in_the_prompt_beside_the_image(butterflies):
    reader = Scripted("")
    appearances = {text.name.removeprefix("the "): text.appearance for text in butterflies.texts}
    asked = [q for q in butterflies.questions if q.question_type == 1][:2]
    known = {option: f"{option} looks so." for q in asked for option in q.options} | appearances
    rows = baselines.options_described(reader, [*asked, butterflies.questions[-1]], butterflies.folder, known, RUN)
    assert len(rows) == 2 + all(option in known for option in butterflies.questions[-1].options)
    prompt = reader.asked[0]
    assert prompt.text.split("\n")[-1] == asked[0].question and prompt.image is not None
    assert all(f"{option}: {known[option]}" in prompt.text for option in asked[0].options)


def test_the_nearest_image_is_that_of_the_class_of_the_same_colours(tmp_path, butterflies):
    from PIL import Image

    colours = dict(zip("abcd", ("red", "green", "blue", "white"), strict=True))
    for name, colour in colours.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    Image.new("RGB", (8, 8), (10, 10, 240)).save(tmp_path / "asked.png")
    texts = [butterflies.texts[0].model_copy(update={"name": name, "image": f"{name}.png"}) for name in colours]
    question = butterflies.questions[0].model_copy(update={"options": list("abcd"), "answer": 2, "image": "asked.png"})
    (row,) = baselines.nearest_image("nearest_pixels", baselines.pixels, [question], tmp_path, texts, "butterfly")
    assert row["correct"] and row["mode"] == "nearest_pixels"
    assert baselines.nearest_image("nearest_pixels", baselines.pixels, [question], tmp_path, texts[:3], "d") == []
