"""Does a model see the images? Its descriptions against the texts, and what a verdict says when it does not."""

import pandas as pd
import pytest

from helpers.evaluation.baselines import likeness
from helpers.results.figures.verdict import described_figure
from helpers.results.sight import described_images, sight, sight_table, texts_answered
from helpers.results.tables import ANSWER_COLUMNS
from helpers.results.verdict import in_words, verdicts, verdicts_said
from helpers.schemas import ClassText, write_texts

WORDS = ("red", "blue", "green", "white", "black")


def texts_of(words=WORDS):
    fields = {"domain": "own", "background": "It grows.", "wording": 0, "writer": "own", "image": None}
    return [ClassText(class_id=word, name=word.title(), appearance=f"The cap is {word}.", **fields) for word in words]


def rows(described, mode="base", answering="describe_then_answer", correct=0, kind=1, model="small"):
    """A row per (class, description); the first ``correct`` ones are right."""
    full = dict.fromkeys((*ANSWER_COLUMNS, "variant"))
    own = {"model": model, "domain": "own", "mode": mode, "variant": "main", "seed": 0, "image": "with"}
    own |= {"answering": answering, "protocol": "letter", "question_type": kind, "answer": 0, "options": list("abcd")}
    return pd.DataFrame(
        full
        | own
        | {"question_id": f"q{kind}-{i}", "image_path": f"{i}.png", "class_id": class_id, "description": said}
        | {"correct": i < correct, "parsed": int(i >= correct)}
        for i, (class_id, said) in enumerate(described)
    )


def seeing(times=1, words=WORDS):
    return [(word, f"a {word} thing") for word in words for _ in range(times)]


def blind(times=1):
    """Every image is described by the colour of the next class."""
    return [(word, f"made of {WORDS[i - 1]} metal") for i, word in enumerate(WORDS) for _ in range(times)]


def test_texts_that_share_no_word_are_not_alike():
    found = likeness(["red cap", "blue cap"], ["a red one", "metal"])
    assert (found[0, 0] > 0, found[0, 1], found[1].tolist()) == (True, 0, [0, 0])
    assert likeness(["?", "!"], ["red"]).tolist() == [[0, 0]]


def test_own_texts_in_all_of_120_ways_pass_once():
    (found,) = sight(rows(seeing()), texts_of())
    assert (found.images, found.classes, found.picked) == (5, 5, 100)
    assert found.p_value == pytest.approx(1 / 120)  # only the texts as they are fit every image
    assert found.seen
    # The own text is always chosen; any other ties with three, and never wins beside the own one, which is left out in
    # one of four draws: 1/4 x 1/4. So k of five classes with their own text give 6.25 + 18.75 k percent.
    # k is three in 10 of the 120 ways and five in one: three would not pass (11 / 120 = 0.09), and four cannot be.
    assert found.enough == 100


def test_descriptions_of_other_classes_do_not_pass():
    (found,) = sight(rows(blind()), texts_of())
    assert (found.picked, found.seen) == (6.25, False)
    assert "(chance 25 %, 100 % would pass; p = 1)" in str(found)


def test_many_images_of_one_class_are_no_more_evidence_than_one():
    one, many = (sight(rows(seeing(times)), texts_of())[0] for times in (1, 8))
    assert (one.images, many.images, many.classes) == (5, 40, 5)
    assert one.p_value == many.p_value


def test_a_description_that_is_the_same_for_every_image_passes_nothing():
    (found,) = sight(rows([(word, "a red cap") for word in WORDS]), texts_of())
    assert (found.p_value, found.seen, found.enough) == (1, False, None)
    assert not found.untested


def test_three_classes_or_words_in_another_language_test_nothing():
    (few,) = sight(rows(seeing(4, WORDS[:3])), texts_of(WORDS[:3]))
    assert "untested with 12 images of 3 classes: with 3 texts, no result could pass at 5 %" in str(few)
    (foreign,) = sight(rows([(word, "ein Ding") for word in WORDS]), texts_of())
    assert "are they in one language?" in foreign.untested
    assert sight_table([few, foreign])["sees"].tolist() == ["untested", "untested"]


def test_random_deals_count_the_observed_one():
    words = ("red", "blue", "green", "white", "black", "brown", "grey", "pink")
    (found,) = sight(rows(seeing(words=words)), texts_of(words))
    assert found.p_value == pytest.approx(1 / 10_000, abs=2 / 10_000)


def test_only_the_untuned_models_own_descriptions_count():
    other = [rows(blind(), mode="text_only"), rows(blind(), answering="direct"), rows(blind()).assign(image="without")]
    assert sight(pd.concat(other), texts_of()) == []
    found = described_images(pd.concat([rows(seeing()), *other]), texts_of())
    assert found["most_like"].tolist() == list(WORDS)
    assert found["picked"].tolist() == [100] * 5
    assert described_images(rows([("red", "metal")]), texts_of())["most_like"].tolist() == [""]


def run(described, untuned=5, text=5, image=None):
    """Twenty questions on twenty images; how many are right untuned, with text, with images."""
    modes = {"base": untuned, "text_only": text} | ({} if image is None else {"image_text": image})
    return pd.concat([rows(described, mode, correct=right) for mode, right in modes.items()])


def judged(answers):
    return verdicts(answers, sights=sight(answers, texts_of()))


def test_a_model_that_does_not_see_the_images_gets_no_no():
    """Text is far behind images by chance alone, or gains nothing: neither says anything about the texts."""
    described = blind(4)
    (found,) = judged(run(described, untuned=12, text=1))  # 12 of 20 untuned: 60 % [39, 78], above chance
    assert (found.answer, found.sees) == ("no", True)
    (found,) = judged(run(described, untuned=8, text=0))  # 40 % [22, 61]
    assert (found.answer, found.sees) == ("cannot tell", False)
    assert found.reason.startswith("this model does not see your images, as far as could be tested: choosing among")
    assert "20 images of 5 classes" in found.reason
    assert "--profile laptop (no GPU needed), paper or current" in found.reason
    assert ": CANNOT TELL: this model does not see your images" in in_words([found])
    (said,) = verdicts_said([found]).to_dict("records")
    assert (said["verdict"], said["reason"][:31]) == ("cannot tell", "This model does not see your im")


def test_a_model_whose_descriptions_fit_is_judged():
    (found,) = judged(run(seeing(4), untuned=8, text=0))
    assert (found.answer, found.sees) == ("no", True)


def test_where_training_on_images_fails_as_well_the_texts_are_not_blamed():
    """Descriptions that name colours alone may pass, and still not be enough for any training."""
    (found,) = judged(run(seeing(4), untuned=8, text=0, image=8))
    assert (found.answer, found.sees) == ("cannot tell", False)
    assert found.reason.startswith("no training, not even on images, makes this model recognise the classes above")
    assert "it gains less than 10 points over the untuned model" in found.reason
    (found,) = judged(run(seeing(4), untuned=8, text=0, image=12))  # 60 % [39, 78]: the classes can be learned
    assert (found.answer, found.sees) == ("no", True)


def test_a_model_that_learns_from_images_sees_them_whatever_it_says():
    (found,) = judged(run(blind(4), text=5, image=19))
    assert (found.answer, found.sees) == ("no", True)
    assert "behind training on images" in found.reason


def test_knowledge_alone_does_not_show_that_a_model_sees():
    """Facts can be guessed from texts (Type 2); only the recognition of a class needs the image."""
    facts = [rows(blind(4), mode, correct=right, kind=2) for mode, right in (("base", 5), ("text_only", 19))]
    found = judged(pd.concat([run(blind(4)), *facts]))
    assert [verdict.answer for verdict in found] == ["cannot tell", "cannot tell"]


def test_without_texts_sight_is_unknown_and_no_verdict_is_given(tmp_path):
    answers = run(seeing(4), untuned=8, text=0)
    assert texts_answered(tmp_path, answers) == []
    (found,) = verdicts(answers)
    assert found.answer == "cannot tell"
    assert found.reason.startswith("it is not known whether this model sees your images")
    write_texts(tmp_path / "texts.jsonl", texts_of())
    assert texts_answered(tmp_path, answers) == texts_of()


def test_the_figure_shows_one_image_of_each_class(tmp_path):
    found = described_images(rows(seeing(3)), texts_of())
    figure = described_figure(found, tmp_path, count=4)
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said == [f"small, {word}:\na {word} thing" for word in WORDS[:4]]
