"""What a text is worth in photographs: the map, the splits, the controls; British butterflies from their features."""

import numpy as np
import pytest

from helpers.paths import ROOT
from helpers.photographs.mapping import InnerSplit, Ridges, SeenClasses, share_right, unit
from helpers.photographs.study import SHUFFLED, SetFeatures, Split, WithoutPart, leave_one_out, photograph_rows, worth

BRITISH = ROOT.parent / "shared" / "data" / "british_butterflies" / "features.npz"


def world(classes=24, each=6, seed=0):
    """Photographs and texts of classes that share hidden traits: the texts show the traits, the photographs too."""
    rng = np.random.default_rng(seed)
    traits = rng.normal(size=(classes, 8))
    labels = np.repeat(np.arange(classes), each)
    images = np.maximum((traits[labels] + 0.5 * rng.normal(size=(len(labels), 8))) @ rng.normal(size=(8, 40)), 0)
    texts = unit(traits @ rng.normal(size=(8, 20)))
    return SetFeatures(images, labels, [f"class {number}" for number in range(classes)], {"descriptions": texts})


# ---- the map -------------------------------------------------------------------------------------------------------


def test_the_map_is_the_closed_form_of_the_paper():
    """W = (X'X + g I)^-1 X' Y S (S'S + l I)^-1, computed as it stands there."""
    features = world(classes=6, each=3)
    seen, texts, ridges = [0, 2, 3, 5], features.texts["descriptions"], Ridges(0.3, 0.7)
    rows = unit(features.images[np.isin(features.labels, seen)])
    right = (features.labels[np.isin(features.labels, seen)][:, None] == np.array(seen)).astype(float)
    words = texts[seen]
    left = np.linalg.inv(rows.T @ rows + 0.3 * np.eye(40))
    wanted = left @ rows.T @ right @ words @ np.linalg.inv(words.T @ words + 0.7 * np.eye(20))
    learned = SeenClasses(features.images, features.labels, seen)
    assert np.allclose(learned.map(texts, ridges), wanted)
    assert np.allclose(
        learned.scores(learned.project(features.images), texts, [1, 4], ridges),
        unit(features.images) @ wanted @ texts[[1, 4]].T,
    )


def test_more_photographs_than_features_give_the_same_map():
    """The smaller of the two Gram matrices is decomposed; both lead to the same map."""
    features = world(classes=6, each=20)
    texts, ridges = features.texts["descriptions"], Ridges(0.3, 0.7)
    rows, right = unit(features.images), np.eye(6)[features.labels]
    left = np.linalg.inv(rows.T @ rows + 0.3 * np.eye(40)) @ rows.T @ right @ texts
    wanted = left @ np.linalg.inv(texts.T @ texts + 0.7 * np.eye(20))
    assert np.allclose(SeenClasses(features.images, features.labels, range(6)).map(texts, ridges), wanted)


def test_photographs_of_an_unseen_class_do_not_change_the_map():
    features = world()
    texts, ridges, seen = features.texts["descriptions"], Ridges(0.1, 1.0), range(12)
    changed = features.images.copy()
    changed[features.labels >= 12] = 7.0
    first = SeenClasses(features.images, features.labels, seen).map(texts, ridges)
    assert np.array_equal(first, SeenClasses(changed, features.labels, seen).map(texts, ridges))


def test_the_ridge_values_are_chosen_without_the_unseen_classes():
    features = world()
    texts, seen = features.texts["descriptions"], np.arange(12)
    changed, other = features.images.copy(), texts.copy()
    changed[features.labels >= 12], other[12:] = 7.0, 0.5
    found = [
        InnerSplit(images, features.labels, seen, np.random.default_rng(0)).accuracies(words)
        for images, words in ((features.images, texts), (changed, other))
    ]
    assert found[0] == found[1]


def test_the_chance_to_be_right_is_exact():
    """Six classes, two above the right one: three others of five are drawn, and none of the two: C(3,3) / C(5,3)."""
    scores = np.array([[0.5, 0.9, 0.7, 0.1, 0.2, 0.3], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 1, 1, 1, 1, 1]])
    assert share_right(scores, np.array([0, 0, 0])).tolist() == [0.1, 1.0, 0.0]
    assert share_right(np.ones((1, 5)), np.array([2])).tolist() == [0.0]  # equal scores know nothing
    assert share_right(np.array([[0.1, 0.2]]), np.array([1])).tolist() == [1.0]  # two classes: both are offered


# ---- the study -------------------------------------------------------------------------------------------------------


def test_text_recognises_unseen_classes_and_the_shuffled_text_does_not():
    features = world(classes=60)
    rows = photograph_rows(features, [Split(features, seed) for seed in range(5)], examples=(1, 3))
    found = rows.groupby(["text", "photographs"])["right"].mean()
    assert found["descriptions", 0] > 0.8
    assert abs(found[f"descriptions{SHUFFLED}", 0] - 0.25) < 0.1
    assert found["photographs", 3] > found["photographs", 1] > 0.6


def test_shuffling_gives_every_class_the_text_of_another_of_its_kind():
    features = world()
    split = Split(features, 0)
    numbers = np.arange(24.0)[:, None]
    moved = split.shuffled(numbers)[:, 0]
    assert (moved != numbers[:, 0]).all()
    assert set(moved[split.seen]) == set(split.seen)


def test_an_example_is_never_asked_about_and_a_single_photograph_is_never_tested():
    images = np.eye(12)
    labels = np.array([0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 4, 5])
    split = Split(SetFeatures(images, labels, list("abcdefgh")), 0, unseen=[0, 1, 2, 3])
    for _ in range(5):
        examples, tested = split._drawn(1)
        assert not set(np.concatenate(examples)) & set(tested)
        assert set(labels[tested]) == {0, 1}
        assert [len(some) for some in examples] == [1, 1, 1, 1]


def test_the_attribute_that_carries_the_class_is_found():
    features = world(classes=60)
    noise = unit(np.random.default_rng(1).normal(size=(60, 20)))
    colour = features.texts["descriptions"]
    left_out = [WithoutPart("colour", noise, colour), WithoutPart("place", colour, noise)]
    splits = [Split(features, seed) for seed in range(3)]
    table = leave_one_out(splits, unit(colour + noise), left_out).set_index("attribute")
    assert table.loc["colour", "carries"] > 20 > table.loc["place", "carries"]
    assert table.loc["colour", "alone"] > 80


def test_a_text_is_worth_as_many_photographs_as_the_curve_says():
    curve = {1: 60.0, 2: 70.0, 8: 90.0}
    assert worth(curve, 50.0) == "less than 1"
    assert worth(curve, 65.0) == "1.4"  # half way between 1 and 2 in the logarithm
    assert worth(curve, 80.0) == "4.0"
    assert worth(curve, 95.0) == "more than 8"


def test_too_few_classes_are_refused():
    features = world(classes=7)
    with pytest.raises(ValueError, match="each needs at least 4"):
        Split(features, 0)
    with pytest.raises(ValueError, match="one per class"):
        SetFeatures(features.images, features.labels, features.classes, {"names": np.ones((3, 2))})


# ---- British butterflies, from their features ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def british():
    if not BRITISH.is_file():
        pytest.skip(f"the features of the British butterflies are not here: {BRITISH.name} comes with no clone")
    with np.load(BRITISH) as stored:
        kinds = {"names": "text_names", "field guide": "text_tips_and_attr"}
        texts = {kind: stored[key].astype(float) for kind, key in kinds.items()}
        return SetFeatures(stored["image_features"], stored["species"].astype(int), list(stored["names"]), texts)


def test_british_butterflies_are_recognised_by_text_as_was_measured(british):
    """60 seen, 32 unseen species, five splits: names 65.8 ± 3.2, field guide 75.3 ± 1.5, shuffled 24.6 ± 2.9."""
    splits = [Split(british, seed) for seed in range(5)]
    assert {(len(split.seen), len(split.unseen)) for split in splits} == {(60, 32)}
    found = 100 * photograph_rows(british, splits).groupby("text")["right"].mean()
    assert found["names"] == pytest.approx(65.8, abs=3.2)
    assert found["field guide"] == pytest.approx(75.3, abs=1.5)
    assert found[f"field guide{SHUFFLED}"] == pytest.approx(24.6, abs=4)
    assert found["field guide"] > found["names"] + 5
