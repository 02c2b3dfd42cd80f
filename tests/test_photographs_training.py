"""Training on text alone: what it learns on right texts it does not learn on shuffled ones; tables and the figure."""

import numpy as np
import pandas as pd
import pytest

from helpers.photographs.mapping import unit
from helpers.photographs.study import SetFeatures, Split, photograph_rows
from helpers.photographs.text_only import METHODS, TextLesson, into_sentences, text_only_rows, train_on_text
from helpers.results.figures.photographs import photographs_figure
from helpers.results.photographs import accuracy_by_class, accuracy_by_text, worth_table


@pytest.fixture(scope="module")
def world():
    """60 classes with hidden traits that photographs and sentences show; names show nothing."""
    rng = np.random.default_rng(0)
    traits = rng.normal(size=(60, 8))
    labels = np.repeat(np.arange(60), 4)
    images = np.maximum((traits[labels] + 0.4 * rng.normal(size=(240, 8))) @ rng.normal(size=(8, 60)), 0)
    owners = np.repeat(np.arange(60), 3)
    sentences = unit((traits[owners] + 0.3 * rng.normal(size=(180, 8))) @ rng.normal(size=(8, 90)))
    names = unit(rng.normal(size=(60, 90)))
    features = SetFeatures(images, labels, [f"c{n}" for n in range(60)], {"names": names})
    return features, TextLesson(names, sentences, owners)


@pytest.fixture(scope="module")
def trained(world):
    features, lesson = world
    return train_on_text(Split(features, 0), lesson)


@pytest.mark.parametrize("method", ["head", "classifier", "noise"])
def test_a_method_learns_from_right_texts_and_not_from_shuffled_ones(trained, method):
    right, shuffled = trained[method]
    assert right.mean() > 0.5
    assert abs(shuffled.mean() - 0.25) < 0.15
    assert right.mean() > shuffled.mean() + 0.25


def test_each_method_has_a_control(trained):
    assert list(trained) == list(METHODS)
    assert all(len(right) == len(shuffled) for right, shuffled in trained.values())


def test_no_photograph_of_an_unseen_class_is_trained_on(world):
    features, lesson = world
    split = Split(features, 0)
    changed = features.images.copy()
    changed[split.asked[1:]] = 0.5  # all but one photograph of the test
    other = Split(SetFeatures(changed, features.labels, features.classes, features.texts), 0)
    for method in METHODS.values():
        assert method(split, lesson, into_sentences(split, lesson))[0] == pytest.approx(
            method(other, lesson, into_sentences(other, lesson))[0]
        )


def test_a_lesson_moved_gives_sentences_to_other_classes():
    lesson = TextLesson(np.eye(3), np.eye(3), np.array([0, 1, 2]))
    assert lesson.moved(np.array([2, 0, 1])).owners.tolist() == [2, 0, 1]


# ---- tables --------------------------------------------------------------------------------------------------------


def rows(text, values, split=0, examples=0):
    names = ["a", "a", "b", "b"]
    columns = {"split": split, "text": text, "photographs": examples, "photograph": range(4), "class": names}
    return pd.DataFrame(columns | {"right": values})


def test_accuracy_is_over_photographs_and_its_interval_over_classes():
    table = accuracy_by_text(pd.concat([rows("names", [1, 1, 0, 0]), rows("names", [1, 1, 1, 0], split=1)]))
    [row] = table.to_dict("records")
    assert (row["accuracy"], row["n"], row["classes"], row["splits"]) == (62.5, 4, 2, 2)
    assert row["sd"] == pytest.approx(25 / np.sqrt(2))
    assert (row["accuracy_low"], row["accuracy_high"]) == (25.0, 100.0)  # both resampled classes are b, or both are a


def test_the_worst_class_comes_first():
    table = accuracy_by_class(rows("names", [1, 1, 0.5, 0]))
    assert table[["class", "n", "accuracy"]].to_numpy().tolist() == [["b", 2, 25.0], ["a", 2, 100.0]]


def test_what_a_text_is_worth_is_read_off_the_curve_of_its_set():
    every = [
        rows("names", [1, 1, 0, 1]),
        rows("names, shuffled", [0, 0, 0, 1]),
        rows("photographs", [1, 0, 0, 1], examples=1),
        rows("photographs", [1, 1, 1, 1], examples=4),
    ]
    table = worth_table(accuracy_by_text(pd.concat(every)))
    assert table[["text", "photographs_worth"]].to_numpy().tolist() == [["names", "2.0"]]


def test_the_figure_has_texts_beside_the_curve(world):
    features, lesson = world
    splits = [Split(features, seed) for seed in range(2)]
    answers = pd.concat([photograph_rows(features, splits, (1, 2)), text_only_rows(splits[:1], lesson)])
    figure = photographs_figure(accuracy_by_text(answers))
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()][:2] == ["names", "names, shuffled"]
    assert right.get_xlabel() == "photographs per class, no text"
