"""The two versions of a data set say the same, and the test's wordings are in neither."""

import pytest

from helpers.datasets import build_samples, choose_questions, named, shuffle_names
from helpers.samples import write_samples
from helpers.world import language as say

BOTH = ["name_to_description", "description_to_name"]


def test_text_only_has_no_picture_and_image_text_has_one_in_every_sample(butterflies):
    assert not any(sample.pictures for sample in butterflies.samples["text_only"])
    assert all(sample.pictures for sample in butterflies.samples["image_text"])


def test_both_modes_give_the_same_answers(butterflies):
    answers = {mode: [sample.texts[1] for sample in rows] for mode, rows in butterflies.samples.items()}
    assert answers["text_only"] == answers["image_text"]


def test_description_to_name_does_not_give_the_name_away(butterflies):
    names = {text.class_id: text.name for text in butterflies.texts}
    for sample in butterflies.samples["text_only"]:
        if sample.direction == "description_to_name":
            prompt, answer = sample.texts
            assert names[sample.class_id] not in prompt
            assert answer.startswith(f"This is {names[sample.class_id]}.")


def test_the_wordings_of_the_test_are_in_no_training_sample(butterflies):
    trained = "\n".join(text for rows in butterflies.samples.values() for sample in rows for text in sample.texts)
    assert not [q.question for q in butterflies.questions if q.question in trained]


def test_the_name_stands_where_the_neutral_words_stood(butterflies):
    assert "this butterfly" not in named(butterflies.texts[0]).lower()
    assert butterflies.texts[0].name.lower() in named(butterflies.texts[0]).lower()


def test_the_control_gives_every_name_somebody_elses_text(butterflies):
    shuffled = shuffle_names(butterflies.texts)
    assert [text.name for text in shuffled] == [text.name for text in butterflies.texts]
    assert sorted(text.look for text in shuffled) == sorted(text.look for text in butterflies.texts)
    assert all(a.look != b.look for a, b in zip(shuffled, butterflies.texts, strict=True))


def test_a_class_without_a_picture_cannot_be_trained_with_pictures(butterflies):
    text = butterflies.texts[0].model_copy(update={"picture": None})
    with pytest.raises(ValueError, match="has no training picture"):
        list(build_samples([text], "image_text", BOTH))


@pytest.mark.parametrize(("mode", "directions"), [("audio", BOTH), ("text_only", ["sideways"])])
def test_unknown_modes_and_directions_are_refused(butterflies, mode, directions):
    with pytest.raises(ValueError, match="known: "):
        list(build_samples(butterflies.texts, mode, directions))


def test_questions_are_limited_by_split_and_type_and_keep_their_order(butterflies):
    chosen = choose_questions(butterflies.questions, 3, seed=0)
    counts = {(q.split, q.question_type) for q in chosen}
    assert len(chosen) == 12
    assert len(counts) == 4
    assert chosen == [q for q in butterflies.questions if q in chosen]


def test_answers_in_full_hold_the_option(butterflies):
    for question in butterflies.questions:
        assert all(option in s for option, s in zip(question.options, question.sentences(), strict=True))
        assert question.refers == say.subject("butterfly")


def test_samples_are_written_beside_their_pictures(butterflies):
    for mode, rows in butterflies.samples.items():
        write_samples(butterflies.folder / f"{mode}.jsonl", rows)
