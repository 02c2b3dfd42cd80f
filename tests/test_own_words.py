"""Texts in the model's own words: what is replaced, and what is not."""

import pytest
from PIL import Image

from helpers.config.build import Build
from helpers.config.evaluation import Evaluation
from helpers.datasets.build import build_samples
from helpers.schemas import ClassText, write_texts
from helpers.training import own_words
from helpers.training.own_words import in_own_words

LOOKS = {"a": "This butterfly is azure above.", "b": "This butterfly is sooty above."}
OWN = {LOOKS["a"]: "This butterfly has blue wings.", LOOKS["b"]: "This butterfly has black wings."}


@pytest.fixture
def texts(tmp_path, monkeypatch):
    monkeypatch.setattr(own_words, "Reader", lambda *given: None)
    monkeypatch.setattr(own_words, "translated", lambda reader, said, domain, asking: [OWN.get(s, "") for s in said])
    for key in LOOKS:
        Image.new("RGB", (8, 8)).save(tmp_path / f"{key}.png")
    rows = [
        ClassText(
            class_id=key, name=f"the {key.upper()}dmiral", domain="butterfly", appearance=look,
            background="It flies in spring.", wording=0, writer="offline", image=f"{key}.png",
        )
        for key, look in LOOKS.items()
    ]  # fmt: skip
    write_texts(tmp_path / "texts.jsonl", rows)
    return rows


def said(samples):
    return [tuple(sample.texts) for sample in samples]


def test_descriptions_are_replaced_in_prompts_without_and_in_answers_with_the_name(texts, tmp_path):
    before = list(build_samples(texts, "text_only", Build()))
    after = in_own_words(None, None, before, tmp_path, Evaluation()).samples
    assert [s.id for s in after] == [s.id for s in before]
    for key, sample in zip("aabb", after, strict=True):
        colour, name = {"a": ("blue", "the Admiral"), "b": ("black", "the Bdmiral")}[key]
        prompt, answer = sample.texts
        if sample.direction == "description_to_name":
            assert prompt.startswith(f"This butterfly has {colour} wings.\n") and answer.startswith(f"This is {name}.")
        else:
            assert answer == f"The {key.upper()}dmiral has {colour} wings. It flies in spring."


def test_the_control_keeps_its_wrong_names(texts, tmp_path):
    before = list(build_samples(texts, "text_only", Build(shuffled=True)))
    after = in_own_words(None, None, before, tmp_path, Evaluation()).samples
    assert any("Admiral has black wings" in answer for _, answer in said(after))
    assert not any("azure" in text or "sooty" in text for pair in said(after) for text in pair)


def test_an_image_stays_and_an_empty_reply_keeps_the_text(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(own_words, "translated", lambda reader, all_, domain, asking: [OWN[all_[0]], ""])
    before = list(build_samples(texts, "image_text", Build()))
    after = in_own_words(None, None, before, tmp_path, Evaluation()).samples
    assert [s.images for s in after] == [s.images for s in before]
    assert any("blue wings" in answer for _, answer in said(after))
    assert any("sooty above" in answer for _, answer in said(after))


def test_each_description_is_reworded_in_the_terms_of_its_own_domain(texts, tmp_path, monkeypatch):
    two = [text.model_copy(update={"domain": of}) for text, of in zip(texts, ("butterfly", "culture"), strict=True)]
    write_texts(tmp_path / "texts.jsonl", two)
    monkeypatch.setattr(own_words, "translated", lambda reader, all_, domain, asking: [f"A {domain}." for _ in all_])
    reworded = in_own_words(None, None, list(build_samples(two, "text_only", Build())), tmp_path, Evaluation())
    assert reworded.words == {LOOKS["a"]: "A butterfly.", LOOKS["b"]: "A culture."}


def test_samples_without_a_whole_description_are_refused(texts, tmp_path):
    background = list(build_samples(texts, "text_only", Build(parts=["background"])))
    with pytest.raises(ValueError, match=r"training.own_words: none of 4 samples holds a whole description"):
        in_own_words(None, None, background, tmp_path, Evaluation())
