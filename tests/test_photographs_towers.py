"""Towers of CLIP and SigLIP that learn from text alone: what changes, what stays, what inversion finds."""

import numpy as np
import pytest
import torch

from helpers.evaluation.clip import load_comparer
from helpers.paths import DATA
from helpers.photographs import towers
from helpers.photographs.study import SetFeatures, Split
from helpers.photographs.text_only import TextLesson, as_they_are, text_only_rows, tower_rows

NAMES = [f"a photo of a {name}, a type of butterfly." for name in ("Marsh Lantern", "Ember Veil", "Quartz Dancer")]
SAID = ["It has grey wings with a yellow border.", "It has white wings with purple eyespots.", "Its wings are blue."]


@pytest.fixture(scope="module", params=["clip", "siglip"])
def comparer(request, siglip_folder):
    return load_comparer(DATA / "models" / "tiny-clip" if request.param == "clip" else siglip_folder)


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(towers, "_STEPS", 30)


def changed(before, after):
    """The towers of which a weight differs."""
    new = after.model.state_dict()
    return {
        name.split("_")[0]
        for name, old in before.model.state_dict().items()
        if not torch.equal(old.float(), new[name].float())
    }


def fit(some, others):
    return (some.float() * others.float()).sum(1).mean().item()


def test_the_pairing_loss_is_the_models_own(comparer):
    tokenizer, siglip = comparer.processor.tokenizer, "logit_bias" in dict(comparer.model.named_parameters())
    tokens = tokenizer(SAID, padding="max_length" if siglip else True, return_tensors="pt")
    given = {name: tokens[name] for name in (("input_ids",) if siglip else ("input_ids", "attention_mask"))}
    pixels = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        own = comparer.model(pixel_values=pixels, **given, return_loss=True).loss
        ours = comparer.pairing_loss(comparer.text_vectors(SAID), comparer.image_vectors(pixels))
    torch.testing.assert_close(ours, own)


def test_the_text_tower_alone_reads_and_brings_names_to_their_descriptions(comparer):
    targets = comparer.sentences(SAID).clone()
    read = towers.read_names(comparer, NAMES, targets, 1e-3)
    assert changed(comparer, read) == {"text"}
    old, new = (read.pairing_loss(targets.float(), model.sentences(NAMES).float()).item() for model in (comparer, read))
    assert new < old - 0.01
    again = towers.read_names(comparer, NAMES, targets, 1e-3)
    assert changed(read, again) == set()


def test_inversion_finds_images_and_the_image_tower_learns_them_under_the_name(comparer):
    targets = comparer.sentences(SAID).clone()
    noise, images = (towers.invert(comparer, targets, 56, steps, each=2) for steps in (0, 30))
    assert images.shape == (3, 2, 3, 56, 56)
    with torch.inference_mode():
        before, after = (fit(comparer.image_vectors(some[:, 0]), targets) for some in (noise, images))
    assert after > before + 0.05
    tuned = towers.look_inward(comparer, NAMES, images, 1e-3)
    assert changed(comparer, tuned) <= {"vision", "visual"} and changed(comparer, tuned)
    names = comparer.sentences(NAMES).float()
    shown = images[:, 0]
    with torch.inference_mode():
        old, new = (tuned.pairing_loss(some.image_vectors(shown).float(), names).item() for some in (comparer, tuned))
    assert new < old


def drawn_together(model):
    """Photographs that lie where the descriptions are, so that names which are drawn there are recognised."""
    colours = ("red", "blue", "white", "green", "black", "yellow", "pink", "purple", "brown", "grey", "orange", "cream")
    made_up = [a + b for a in ("Vel", "Dor", "Kam") for b in ("ta", "no", "lu", "mi")]
    names = [f"a photo of a {name}, a type of butterfly." for name in made_up]
    texts = model.sentences([f"It has {colour} wings." for colour in colours]).numpy()
    labels = np.repeat(np.arange(12), 4)
    images = texts[labels] + 0.02 * np.random.default_rng(0).normal(size=(48, texts.shape[1]))
    kinds = {"names": model.sentences(names).numpy(), "descriptions": texts}
    return model, names, SetFeatures(images, labels, list(colours), kinds)


@pytest.fixture(scope="module")
def features():
    return drawn_together(load_comparer(DATA / "models" / "tiny-clip"))


METHODS = ("text tower", "inversion", "text tower, shuffled", "inversion, shuffled")


def test_towers_are_rows_of_the_table_with_their_controls(features):
    model, names, found = features
    splits = [Split(found, seed) for seed in range(3)]
    rows = tower_rows(splits, model, names, lambda _: found.images, (1e-3, 1e-5), inversion_steps=2)
    means = rows.groupby("text", sort=False)["right"].mean()
    assert list(means.index) == [f"trained on text: {method}, compared directly" for method in METHODS]
    assert means.iloc[0] > 0.8 > 0.5 > means.iloc[2]


def test_a_siglip_gives_the_same_rows(siglip_folder, monkeypatch):
    monkeypatch.setattr(towers, "_STEPS", 2)
    model, names, found = drawn_together(load_comparer(siglip_folder))

    def encode(tuned):
        with torch.inference_mode():
            return tuned.image_vectors(torch.zeros(48, 3, 56, 56)).numpy()

    rows = tower_rows([Split(found, 0)], model, names, encode, (1e-3,), inversion_steps=2)
    assert set(rows["text"]) == {f"trained on text: {method}, compared directly" for method in METHODS}
    assert rows["right"].between(0, 1).all()


@pytest.mark.parametrize(
    ("rates", "steps", "rule"), [((), 0, "above 0"), ((-1.0,), 0, "above 0"), ((1.0,), -1, "0 or more")]
)
def test_rates_and_steps_that_make_no_sense_are_refused(features, rates, steps, rule):
    model, names, found = features
    with pytest.raises(ValueError, match=rule):
        tower_rows([Split(found, 0)], model, names, lambda _: found.images, rates, steps)


def test_with_one_space_the_methods_need_no_map(features):
    _, _, found = features
    split = Split(found, 0)
    lesson = TextLesson(found.texts["names"], found.texts["descriptions"], np.arange(12))
    shown = as_they_are(split, lesson)
    assert np.allclose(np.linalg.norm(shown.photographs, axis=1), 1) and shown.gap < 0.05
    means = text_only_rows([split], lesson, shared_space=True).groupby("text")["right"].mean()
    assert means["trained on text: classifier, compared directly"] == 1
    assert means["trained on text: classifier, shuffled, compared directly"] < 0.5
