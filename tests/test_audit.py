"""The audit finds what would make a test worthless, or easier than it looks, on small sets counted by hand."""

import numpy as np
import pytest
from PIL import Image
from rapidfuzz import process

from helpers.datasets.audit import _Training, audit, blind, option_scores
from helpers.images import distance, is_near, perceptual_hash
from helpers.schemas import ClassText, Question, Sample, exchange


def sample(number: int, prompt: str = "Describe it.", answer: str = "It is green.", image=None, class_id="luna_moth"):
    direction = "name_to_description" if image is None else "image_to_name"
    messages = exchange(prompt, answer, image)
    return Sample(id=f"s{number}", domain="butterfly", class_id=class_id, direction=direction, messages=messages)


def question(number: int, options: list[str], answer: int, kind: int = 1, **changes) -> Question:
    given = {
        "domain": "butterfly",
        "category": "moth",
        "class_id": None,
        "question": f"Question {number}?",
        "image": None,
        "split": "test",
    }
    return Question(question_id=f"q{number}", question_type=kind, options=options, answer=answer, **given | changes)


def photograph(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((400, 300), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("red", "red"), ("green", "green"), ("also_red", "red")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    for seed in (1, 2):
        photograph(seed).save(tmp_path / f"photograph{seed}.png")
    photograph(1).resize((160, 120)).save(tmp_path / "copy.jpg", quality=70)
    return tmp_path


ABCD = ["a", "b", "c", "d"]


def test_a_test_picture_in_training_stops_the_audit(folder):
    asked = [question(1, ABCD, 0, image="red.png")]
    with pytest.raises(ValueError, match=r"1 test image.*red\.png = also_red\.png"):
        audit(asked, [sample(1, image="also_red.png")], folder)
    assert audit(asked, [sample(1, image="green.png")], folder)["training_images"] == 1


def test_a_copy_in_another_size_and_format_stops_it_where_pictures_come_from_outside(folder):
    asked = [question(1, ABCD, 0, image="photograph1.png")]
    trained = [sample(1, image="copy.jpg"), sample(2, image="photograph2.png")]
    with pytest.raises(ValueError, match=r"1 training image.*photograph1\.png ~ copy\.jpg"):
        audit(asked, trained, folder, outside=True)
    found = audit(asked, trained, folder)["near_images"]
    assert (found["distance"], found["count"]) == (4, 1)
    assert audit(asked, trained[1:], folder, outside=True)["near_images"]["count"] == 0


def test_flat_pictures_are_like_no_other(folder):
    assert perceptual_hash(folder / "red.png") is None
    assert not is_near(None, None)
    assert distance(0b1011, 0b0010) == 2


def test_a_broken_picture_is_named(folder):
    (folder / "broken.jpg").write_bytes((folder / "copy.jpg").read_bytes()[:300])
    with pytest.raises(ValueError, match=r"broken\.jpg: not a readable image"):
        perceptual_hash(folder / "broken.jpg")


def test_the_audit_counts_and_measures_blind_baselines(folder):
    asked = [
        question(1, ["long one", "b", "c", "d"], 0),  # longest: right
        question(2, ["e", "f", "gg", "hh"], 2),  # longest: one of two, half a hit
        question(3, ["b", "i", "j", "k"], 3),  # the longest is any of four; "b", asked twice, the most frequent, wrong
        question(4, ["l", "m", "n", "o"], 3, kind=2),
    ]
    found = audit(asked, [sample(1), sample(2, "As they ask: Question 2?")], folder)
    assert found["type1"] == {
        "questions": 3,
        "answer_positions": [1, 0, 1, 1],
        "positions_p": 0.8013,  # chi-square 1.0 with 3 degrees of freedom
        "longest_option": round(100 * (1 + 0.5 + 0.25) / 3, 1),
        "most_frequent_option": round(100 * (0 + 0.25 + 0) / 3, 1),
        "option_words": None,
    }
    assert found["type2"]["longest_option"] == 25.0
    assert found["question_texts_in_training"] == ["Question 2?"]
    assert (found["samples"], found["samples_by_direction"]) == (2, {"name_to_description": 2})


def test_the_audit_of_one_type_alone_leaves_the_other_empty(folder):
    found = audit([question(1, ABCD, 0)], [], folder)
    assert found["type2"]["questions"] == 0
    assert found["type2"]["longest_option"] is found["type2"]["positions_p"] is None


def test_answers_that_always_stand_first_are_told_from_chance():
    assert blind([question(n, ABCD, 0) for n in range(40)])["positions_p"] == 0
    assert blind([question(n, ABCD, n % 4) for n in range(40)])["positions_p"] == 1


def test_a_question_that_is_nearly_the_same_is_shown_with_its_likeness(folder):
    asked = [question(1, ABCD, 0, question="In which season does this butterfly fly?")]
    trained = [sample(1, "It is red. In which season does the butterfly fly?"), sample(2, "What does it eat?")]
    found = audit(asked, trained, folder)
    assert found["question_texts_in_training"] == []
    (shown,) = found["near_question_texts"]["examples"]
    assert shown.startswith("In which season does this butterfly fly? ~ In which season does the butterfly fly? (9")


def test_a_sentence_is_compared_once_and_what_was_compared_is_forgotten_in_time(monkeypatch):
    compared, cdist = [], process.cdist
    monkeypatch.setattr(process, "cdist", lambda texts, new, **how: compared.extend(new) or cdist(texts, new, **how))
    training = _Training([question(1, ABCD, 0, question="In which season does this butterfly fly?")])
    training.seen = set(range(100_001))
    group = [sample(1, "In which season does the butterfly fly?", "In spring.")]
    training.add(group)
    assert len(training.seen) == 2
    found = dict(training.alike)
    training.add(group)
    assert (training.alike, training.count, len(found)) == (found, 2, 1)
    assert len(compared) == 2


def test_a_question_with_its_answer_in_one_sample_is_found(folder):
    asked = [question(1, ["oaks", "b", "c", "d"], 0, question="What does it eat?")]
    apart = [sample(1, "What does it eat?", "Leaves."), sample(2, "Where?", "On oaks.")]
    assert audit(asked, apart, folder)["questions_with_their_answer"]["count"] == 0
    together = [sample(1, "What does it eat?", "It eats oaks.")]
    assert audit(asked, together, folder)["questions_with_their_answer"]["examples"] == ["q1"]


def test_the_right_answer_in_another_class_is_found_and_in_its_own_is_not(folder):
    asked = [question(1, ["oaks", "b", "c", "d"], 0, class_id="luna_moth", answer_form="It eats {option}.")]

    def found(answer, class_id):
        return audit(asked, [sample(1, "?", answer, class_id=class_id)], folder)["answers_in_other_classes"]

    assert found("Now: it eats oaks.", "io_moth") == {"count": 1, "examples": ["q1: It eats oaks. (io_moth)"]}
    assert found("It eats oaks.", "luna_moth")["count"] == 0
    assert found("It eats no oaks.", "io_moth")["count"] == 0


def test_an_answer_within_another_word_is_not_found_but_one_with_a_korean_particle_is(folder):
    asked = [question(1, ["gim", "b", "c", "d"], 0), question(2, ["한복", "b", "c", "d"], 0)]
    trained = [sample(1, answer="Gimbap is rice."), sample(2, answer="한복은 옷이다.")]
    found = audit(asked, trained, folder)["answers_in_other_classes"]
    assert found["examples"] == ["q2: 한복 (luna_moth)"]


def test_looks_that_hold_a_name_are_found_and_those_that_possibly_do_are_told_apart(folder):
    appearances = {
        "the Peacock": "A peacock eyespot.",
        "the Monarch": "Monarchs are orange.",
        "the Monarch moth": "Brown, unlike a Monarch.",
        "김치": "배추김치다.",
        "Luna Moth": "It is green.",
    }
    texts = [
        ClassText(
            class_id=name,
            name=name,
            domain="own",
            appearance=appearance,
            background="Old.",
            wording=0,
            writer="x",
            image=None,
        )
        for name, appearance in appearances.items()
    ]
    found = audit([], [], folder, texts=texts)
    assert found["names_in_looks"] == {"count": 1, "examples": ["the Monarch, wording 0: Monarchs"]}
    assert found["possible_names_in_looks"]["examples"] == [
        "the Peacock, wording 0: peacock",
        "김치, wording 0: 배추김치다",
    ]


def test_an_answer_is_found_in_any_way_of_writing_it(folder):
    asked = [question(n, [name, "b", "c", "d"], 0) for n, name in enumerate(["Eighty-eight", "ガラス", "سمك", "花"])]
    trained = [sample(1, answer="Eighty‑eights shine. これはｶﾞﾗｽです。 والسمك. 花火。")]
    found = audit(asked, trained, folder)["answers_in_other_classes"]
    assert [line.partition(":")[0] for line in found["examples"]] == ["q0", "q1", "q2"]


def test_options_that_sound_right_give_answers_away_and_random_ones_do_not():
    rng = np.random.default_rng(0)
    telling = [question(n, ["traditional cloth", f"x{n}", f"y{n}", f"z{n}"], 0) for n in range(40)]
    assert blind(telling)["option_words"] == 100.0
    words = [f"w{number}" for number in range(8)]
    drawn = [question(n, list(rng.permutation(words)[:4]), int(rng.integers(4))) for n in range(200)]
    assert blind(drawn)["option_words"] < 40
    assert option_scores(drawn) == option_scores(drawn)
