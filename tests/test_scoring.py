"""Answers are scored as the protocol says; batches change nothing; unreadable replies are wrong."""

import pytest
import torch

from helpers.batches import assistant, training_batch
from helpers.models.loading import load_model, load_processor
from helpers.pictures import open_picture
from helpers.scoring import answering
from helpers.scoring.protocols import Prompt, Reader, letter, lettered, option_likelihood, read_letter


@pytest.fixture
def reader(model_path):
    model, _ = load_model(model_path, four_bit=False)
    return Reader(model, load_processor(model_path), batch_size=3, max_new_tokens=12)


@pytest.fixture
def prompts(butterflies):
    pictures = [open_picture(butterflies.folder / q.picture) for q in butterflies.questions[:4]]
    return [Prompt(q.question, picture) for q, picture in zip(butterflies.questions[:4], pictures, strict=True)]


def test_likelihood_is_the_sum_over_the_answers_tokens(reader, prompts):
    batch = training_batch(
        reader.processor, [[prompts[0].message, assistant("It is small.")]], [prompts[0].picture], 512
    )
    labels = batch.pop("labels")
    with torch.inference_mode():
        logits = reader.model(**batch).logits.log_softmax(-1)
    by_hand = sum(logits[0, i - 1, label].item() for i, label in enumerate(labels[0].tolist()) if label >= 0)
    assert reader.log_likelihoods(prompts[:1], ["It is small."], "test") == pytest.approx([by_hand], rel=1e-4)


def test_batches_change_no_score(reader, prompts):
    answers = ["It is small.", "This is the Monarch.", "It lives in meadows.", "It is giant."]
    together = reader.log_likelihoods(prompts, answers, "test")
    reader.batch_size = 1
    assert reader.log_likelihoods(prompts, answers, "test") == pytest.approx(together, rel=1e-3)


def test_batches_change_no_reply(reader, prompts):
    mixed = [*prompts[:2], Prompt("What is the name of this butterfly?")]
    together = reader.write(mixed, "test")
    reader.batch_size = 1
    assert reader.write(mixed, "test") == together


def test_a_picture_is_seen(reader, prompts):
    with_picture = reader.log_likelihoods(prompts[:1], ["It is small."], "test")
    without = reader.log_likelihoods([Prompt(prompts[0].text)], ["It is small."], "test")
    assert with_picture != pytest.approx(without)


@pytest.mark.parametrize(
    ("reply", "option"),
    [("A", 0), ("b", None), ("(C)", 2), ("D.", 3), (" B ", 1), ("A dog", None), ("", None), ("AB", None), ("E", None)],
)
def test_only_a_bare_letter_is_read(reply, option):
    assert read_letter(reply) == option


def test_options_are_listed_behind_their_letters():
    assert lettered("Which?", ["w", "x", "y", "z"]).splitlines()[:5] == ["Which?", "A. w", "B. x", "C. y", "D. z"]


class Scripted(Reader):
    """A reader whose model is a script: it likes the longest answer and always writes the same."""

    def __init__(self, reply):
        super().__init__(model=None, processor=None, batch_size=2, max_new_tokens=8)
        self.reply = reply

    def log_likelihoods(self, prompts, answers, what):
        return [float(len(answer)) for answer in answers]

    def write(self, prompts, what, max_new_tokens=None):
        return [self.reply] * len(prompts)


def test_a_model_that_always_says_a_is_right_where_a_is_right(butterflies):
    rows = answering.answer_all(Scripted("A"), butterflies.questions, butterflies.folder, "with", "direct", "letter")
    assert [row["correct"] for row in rows] == [question.answer == 0 for question in butterflies.questions]


def test_a_model_that_likes_the_longest_gets_the_longest(butterflies):
    questions = butterflies.questions
    rows = answering.answer_all(Scripted(""), questions, butterflies.folder, "without", "direct", "option_likelihood")
    assert [row["parsed"] for row in rows] == [
        max(range(4), key=lambda i, q=question: len(q.sentences()[i])) for question in questions
    ]


def test_an_unreadable_letter_is_wrong_and_saved(butterflies):
    rows = answering.answer_all(Scripted("Well"), butterflies.questions, butterflies.folder, "with", "direct", "letter")
    assert all(row["parsed"] is None and row["correct"] is False and row["reply"] == "Well" for row in rows)


def test_describing_first_saves_the_own_words_and_names_for_type_2_only(butterflies):
    reply = "This is the Monarch. It is large."
    rows = answering.answer_all(
        Scripted(reply), butterflies.questions, butterflies.folder, "with", "describe", "option_likelihood"
    )
    assert {row["description"] for row in rows} == {reply}
    assert {(row["question_type"], row["named"]) for row in rows} == {(1, None), (2, "the Monarch")}


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
    assert answering.read_name(reply) == name


def test_the_knowledge_question_is_asked_of_the_name(butterflies):
    question = next(q for q in butterflies.questions if q.question_type == 2)
    asked = answering._question_on_words(question, "It is orange.", "the Monarch")
    assert "the Monarch" in asked
    assert "this butterfly" not in asked


@pytest.mark.parametrize(
    "wrong", [{"answering": "loudly"}, {"protocol": "dice"}, {"image": "maybe"}, {"describe_with": "nobody"}]
)
def test_unknown_values_are_refused_with_those_known(butterflies, wrong):
    right = {"image": "with", "answering": "direct", "protocol": "letter", "describe_with": "tuned"}
    with pytest.raises(ValueError, match="known: "):
        answering.answer_all(Scripted("A"), butterflies.questions, butterflies.folder, **{**right, **wrong})


def test_protocols_answer_every_question():
    prompts = [Prompt("Which?")] * 2
    options = [["a", "bb", "ccc", "dddd"]] * 2
    assert [choice.parsed for choice in option_likelihood(Scripted(""), prompts, options)] == [3, 3]
    assert [choice.parsed for choice in letter(Scripted("C"), prompts, options)] == [2, 2]
