"""The versions of a data set say the same, the test's wordings are in none, and each setting does what it says."""

import numpy as np
import pytest
from PIL import Image

from helpers import images
from helpers.config.build import Build, Printed
from helpers.datasets.build import (
    Classes,
    asked_about,
    build_samples,
    choose_classes,
    choose_questions,
    chosen_texts,
    first_sentences,
    named,
    nameless,
    obstacle,
    print_images,
    printed_path,
    sentences,
)
from helpers.datasets.rendered_text import lay_out, print_words
from helpers.paths import file_name
from helpers.rows import RowFile
from helpers.schemas import ClassText, read_samples, write_samples, write_texts
from helpers.synthetic import language as say

TEXT = ClassText(
    class_id="k",
    name="the Marsh Lantern",
    domain="own",
    appearance="This is red. It has a tail! Is it large?",
    background="The Marsh Lantern lives in marshes. Nobody eats a Marsh Lantern.",
    wording=0,
    writer="own",
    image=None,
)


def test_text_only_has_no_picture_and_image_text_has_one_in_every_sample(butterflies):
    assert not any(sample.images for sample in butterflies.samples["text_only"])
    assert all(sample.images for sample in butterflies.samples["image_text"])


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
    shuffled = list(chosen_texts(butterflies.texts, Build(shuffled=True)))
    assert [text.name for text in shuffled] == [text.name for text in butterflies.texts]
    assert sorted(text.appearance for text in shuffled) == sorted(text.appearance for text in butterflies.texts)
    assert all(a.appearance != b.appearance for a, b in zip(shuffled, butterflies.texts, strict=True))


def changed(build, **changes):
    return build.model_copy(update=changes)


def test_a_class_without_a_picture_cannot_be_trained_with_pictures(butterflies, build):
    text = butterflies.texts[0].model_copy(update={"image": None})
    with pytest.raises(ValueError, match="has no training image"):
        list(build_samples([text], "image_text", build))
    assert "has no training image" in obstacle([text], "image_text", build)
    assert obstacle([text], "text_only", build) is None
    assert "has no training image" in obstacle([text], "joint", build)
    assert obstacle([text], "hybrid", changed(build, hybrid_share=0)) is None


def test_unknown_modes_and_texts_that_can_be_read_once_are_refused(butterflies, build):
    with pytest.raises(ValueError, match="known: text_only, image_text, joint, hybrid, printed"):
        list(build_samples(butterflies.texts, "audio", build))
    with pytest.raises(ValueError, match="only once"):
        list(build_samples(iter(butterflies.texts), "text_only", build))


def test_a_build_from_a_file_is_the_build_from_a_list(butterflies, build, tmp_path):
    texts = [text.model_copy(update={"image": None}) for text in butterflies.texts]
    file = RowFile(write_texts(tmp_path / "texts.jsonl", texts), ClassText)
    control = changed(build, shuffled=True, described_share=0.5, detail_share=0.5)
    assert list(build_samples(file, "text_only", control)) == list(build_samples(texts, "text_only", control))


def test_one_direction_alone_gives_half_the_samples(butterflies, build):
    samples = list(build_samples(butterflies.texts, "text_only", changed(build, directions=["description_to_name"])))
    assert {sample.direction for sample in samples} == {"description_to_name"}
    assert len(samples) == len(butterflies.texts)


def test_joint_has_what_text_only_reads_and_what_image_text_sees_of_every_class(butterflies, build):
    joint = list(build_samples(butterflies.texts, "joint", build))
    assert len(joint) == 8 * 2 * 2  # classes, directions, in words and with the image
    both = [*butterflies.samples["text_only"], *butterflies.samples["image_text"]]
    assert sorted(sample.id for sample in joint) == sorted(sample.id for sample in both)
    assert all(sample in both for sample in joint)
    assert [sample.direction for sample in joint[:4]] == [
        *("name_to_description", "description_to_name", "image_to_description", "image_to_name"),
    ]


@pytest.mark.parametrize("mode", ["text_only", "image_text", "joint", "hybrid", "printed"])
def test_single_facts_are_asked_without_image_in_every_mode_and_never_in_the_words_of_the_test(
    butterflies, build, mode
):
    text = butterflies.texts[1].model_copy(
        update={"name": "the Monarch", "facts": {"habitat": "coasts", "size": "small"}}
    )
    settings = changed(build, directions=["name_to_fact"])
    samples = list(build_samples([butterflies.texts[0].model_copy(update={"facts": {}}), text], mode, settings))
    assert [(sample.direction, sample.images, *sample.texts) for sample in samples] == [
        ("name_to_fact", [], "What is the habitat of the Monarch?", "The Monarch lives in coasts."),
        ("name_to_fact", [], "How large is the Monarch?", "It is small."),
    ]
    assert list(build_samples([text], mode, changed(settings, parts=["appearance"]))) == []
    every = list(build_samples(butterflies.texts, mode, settings))
    assert len({sample.id for sample in every}) == 5 * len(butterflies.texts)
    held_out = {
        phrased.asked[say.HELD_OUT].format(s=text.name)
        for text in butterflies.texts
        for phrased in say._FACTS["butterfly"].values()
    }
    assert not held_out & {sample.texts[0] for sample in every}


def test_the_control_asks_for_the_facts_of_the_text_that_it_gives(butterflies, build):
    given = chosen_texts(butterflies.texts, changed(build, shuffled=True))
    assert all(fact in text.background for text in given for fact in text.facts.values())


@pytest.mark.parametrize(("share", "mode"), [(0, "text_only"), (1, "joint")])
def test_a_hybrid_without_images_is_text_only_and_with_all_of_them_joint_sample_by_sample(
    butterflies, build, share, mode
):
    settings = changed(build, hybrid_share=share)
    assert list(build_samples(butterflies.texts, "hybrid", settings)) == list(
        build_samples(butterflies.texts, mode, settings)
    )


def test_hybrid_has_the_text_of_all_classes_and_the_image_of_half_of_them(butterflies, build):
    shown = choose_classes(butterflies.texts, build).with_image
    assert len(shown) == 4
    samples = list(build_samples(butterflies.texts, "hybrid", build))
    assert [sample for sample in samples if not sample.images] == butterflies.samples["text_only"]
    with_image = [sample for sample in butterflies.samples["image_text"] if sample.class_id in shown]
    assert [sample for sample in samples if sample.images] == with_image
    assert len(with_image) == 4 * 2


def test_a_smaller_share_is_part_of_a_larger_one_and_the_seed_changes_both(butterflies, build):
    def chosen(share, seed=0):
        settings = changed(build, described_share=share, hybrid_share=share, seed=seed)
        found = choose_classes(butterflies.texts, settings)
        return found.described

    assert set(chosen(0.25)) < set(chosen(0.5)) < set(chosen(1))
    assert [len(chosen(share)) for share in (0.01, 0.25, 0.5)] == [1, 2, 4]
    assert chosen(0.5) == chosen(0.5)
    assert len({tuple(chosen(0.5, seed)) for seed in range(5)}) > 1


def test_classes_that_are_held_back_are_in_no_sample(butterflies, build):
    settings = changed(build, described_share=0.5)
    described, held_back, _ = choose_classes(butterflies.texts, settings)
    assert sorted([*described, *held_back]) == sorted(text.class_id for text in butterflies.texts)
    for shuffled in (False, True):
        control = changed(settings, shuffled=shuffled)
        samples = list(build_samples(butterflies.texts, "text_only", control))
        assert {sample.class_id for sample in samples} == set(described)
        others = [text.appearance for text in butterflies.texts if text.class_id in held_back]
        assert not [appearance for appearance in others if any(appearance in sample.texts[0] for sample in samples)]


@pytest.mark.parametrize(
    ("parts", "answer", "prompt", "name"),
    [
        (["appearance"], "This is red. It has a tail! Is it large?", "This is red. It has a tail! Is it large?", ""),
        (["background"], TEXT.background, "This lives in marshes. Nobody eats this.", ""),
        (["appearance", "background"], f"{TEXT.appearance} {TEXT.background}", TEXT.appearance, f" {TEXT.background}"),
    ],
)
def test_the_parts_say_what_is_learned(build, parts, answer, prompt, name):
    told, asked = build_samples([TEXT], "text_only", changed(build, parts=parts))
    assert told.texts == ["Tell me about the Marsh Lantern.", answer]
    assert asked.texts == [f"{prompt}\nWhat is this called?", f"This is the Marsh Lantern.{name}"]


def test_the_name_goes_and_the_same_words_in_small_letters_stay():
    peacock = TEXT.model_copy(update={"name": "the Peacock", "domain": "butterfly"})
    said = nameless("A Peacock has peacock eyespots. The Peacock flies; Peacocks do not.", peacock)
    assert said == "This butterfly has peacock eyespots. This butterfly flies; these butterflies do not."
    assert nameless("한복은 옷이다.", TEXT.model_copy(update={"name": "한복"})) == "This은 옷이다."


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (0.01, "This is red."),
        (0.33, "This is red."),
        (0.34, "This is red. It has a tail!"),
        (2 / 3, "This is red. It has a tail!"),
        (1, TEXT.appearance),
    ],
)
def test_the_first_sentences_are_kept_rounded_up(share, kept):
    assert first_sentences(TEXT.appearance, share) == kept


def test_sentences_end_as_they_do_in_english_and_in_korean():
    assert sentences("It is c. 5 cm long. It flies!\nWhy?") == ["It is c. 5 cm long.", "It flies!", "Why?"]
    assert sentences("빨갛다. 크다。작다.") == ["빨갛다.", "크다。", "작다."]


def test_the_control_needs_two_classes(build):
    with pytest.raises(ValueError, match="would get its own text"):
        list(chosen_texts([TEXT], changed(build, shuffled=True)))


def test_the_control_does_not_name_the_class_whose_text_it_takes():
    other = TEXT.model_copy(update={"class_id": "o", "name": "Other", "background": "Old."})
    _, shuffled = chosen_texts([TEXT, other], Build(shuffled=True))
    assert shuffled.background == "This lives in marshes. Nobody eats this."


# ---- printed -------------------------------------------------------------------------------------------------------


def test_printed_is_image_text_with_the_look_as_the_picture(butterflies, build, tmp_path):
    assert print_images(butterflies.texts, build, tmp_path) == 8
    printed = read_samples(
        write_samples(tmp_path / "printed.jsonl", build_samples(butterflies.texts, "printed", build))
    )
    assert [s.texts for s in printed] == [s.texts for s in butterflies.samples["image_text"]]
    assert printed[0].images == [printed_path(butterflies.texts[0])]
    with Image.open(tmp_path / printed[0].images[0]) as image:
        assert (image.size, image.mode) == ((448, 448), "RGB")


def test_the_printed_words_are_black_on_white_and_the_same_each_time():
    pixels = np.asarray(print_words("A red wing", Printed()))
    assert (pixels[:10] == 255).all()
    assert pixels.min() < 50
    assert (pixels == np.asarray(print_words("A red wing", Printed()))).all()


def test_the_name_is_never_printed(build, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "helpers.datasets.build.print_words", lambda words, form: seen.append(words) or Image.new("L", (1, 1))
    )
    giving = TEXT.model_copy(update={"appearance": "The Marsh Lantern is red."})
    print_images([giving], build, tmp_path)
    print_images([giving], changed(build, parts=["background"]), tmp_path)
    assert seen == ["This is red.", "This lives in marshes. Nobody eats this."]


def test_what_cannot_be_printed_is_named_and_not_drawn_as_boxes(build):
    korean, long = ({"appearance": "빨갛다."}, {"appearance": "It is a very long word indeed. " * 60})
    assert "class 'k', wording 0: the font lacks" in obstacle([TEXT.model_copy(update=korean)], "printed", build)
    assert "do not fit on 448 pixels" in obstacle([TEXT.model_copy(update=long)], "printed", build)
    with pytest.raises(ValueError, match="not a readable font"):
        lay_out("a", Printed(font="none.ttf"))


def test_a_word_longer_than_a_line_is_broken_and_nothing_is_lost():
    assert "".join(lay_out("m" * 60, Printed())) == "m" * 60


def test_two_classes_of_one_file_name_are_refused(build, tmp_path):
    texts = [TEXT.model_copy(update={"class_id": name}) for name in ("a/b", "A_b")]
    with pytest.raises(ValueError, match="another class has the file name"):
        print_images(texts, build, tmp_path)


@pytest.mark.parametrize(("name", "safe"), [("a/b", "a_b"), ("..", "_"), ("한복", "한복"), ("", "_"), ("a:b.", "a_b_")])
def test_any_name_makes_a_file_name(name, safe):
    assert file_name(name) == safe
    assert len(file_name("한" * 500).encode()) < 150


def test_questions_are_limited_by_split_and_type_and_keep_their_order(butterflies):
    chosen = choose_questions(butterflies.questions, 3, seed=0)
    counts = {(q.split, q.question_type) for q in chosen}
    assert len(chosen) == 12
    assert len(counts) == 4
    assert chosen == [q for q in butterflies.questions if q in chosen]


def test_questions_may_be_about_what_training_spoke_of_or_about_the_rest(butterflies):
    classes = Classes([butterflies.questions[0].class_id], [], [])
    described = asked_about(butterflies.questions, classes, "described")
    assert {question.class_id for question in described} == set(classes.described)
    assert asked_about(butterflies.questions, classes, "held_back") == []
    assert asked_about(butterflies.questions, classes, "all") == butterflies.questions


def test_where_no_link_can_be_made_a_picture_is_copied(tmp_path, monkeypatch):
    def no_link(*_):
        raise OSError("another disk")

    monkeypatch.setattr(images.os, "link", no_link)
    (tmp_path / "a.png").write_bytes(b"a")
    images.bring_image(tmp_path / "a.png", tmp_path / "new" / "b.png")
    assert (tmp_path / "new" / "b.png").read_bytes() == b"a"


def test_answers_in_full_hold_the_option(butterflies):
    for question in butterflies.questions:
        assert all(option in s for option, s in zip(question.options, question.sentences(), strict=True))
        assert question.refers == say.subject("butterfly")


def test_samples_are_written_beside_their_pictures(butterflies):
    for mode, rows in butterflies.samples.items():
        write_samples(butterflies.folder / f"{mode}.jsonl", rows)
