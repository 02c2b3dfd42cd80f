"""A contrastive model takes the option whose description fits; the tiny one of the demo learns."""

import pytest
import torch

from helpers.evaluation import clip


@pytest.fixture(scope="module")
def comparer():
    return clip.tiny_clip()


def test_a_sentence_is_read_at_its_end_mark(comparer):
    ids = comparer.processor.tokenizer(["It is small.", "It lives in the forests of Asia."], padding=True)["input_ids"]
    end = comparer.model.config.text_config.eos_token_id
    assert end != 2
    assert [row.count(end) for row in ids] == [1, 1]
    padded, alone = (
        comparer.sentences(texts)[0]
        for texts in (["It is small.", "It lives in Asia and in Europe."], ["It is small."])
    )
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-4)


def test_a_few_steps_lower_the_loss_and_the_checkpoint_loads_as_any_other(tmp_path):
    comparer = clip.tiny_clip()
    losses = clip.train(comparer, steps=12, batch_size=8)
    assert losses[-1] < losses[0]
    comparer.model.save_pretrained(tmp_path)
    comparer.processor.save_pretrained(tmp_path)
    loaded = clip.load_comparer(tmp_path)
    text = ["It is orange."]
    torch.testing.assert_close(loaded.sentences(text), comparer.sentences(text), atol=1e-5, rtol=1e-4)


def test_the_option_whose_description_fits_is_taken(comparer, butterflies, monkeypatch):
    """Pictures and sentences are points on axes: a sentence of a class's own lies on the axis of its pictures."""
    questions = butterflies.questions
    own = [
        text.model_copy(update={"appearance": f"It is marked. It is like {text.class_id}."})
        for text in butterflies.texts
    ]
    axes = {sentence: i for i, sentence in enumerate(f"It is like {text.class_id}." for text in own)}

    def point(sentence):
        return torch.nn.functional.one_hot(torch.tensor(axes.setdefault(sentence, len(axes))), 512).float()

    shown = iter([f"It is like {question.class_id}." for question in questions])
    monkeypatch.setattr(comparer, "sentences", lambda several: torch.stack([point(s) for s in several]), raising=False)
    monkeypatch.setattr(comparer, "images", lambda some: torch.stack([point(next(shown)) for _ in some]), raising=False)
    appearances = clip.appearances_by_option(own)
    rows = clip.by_description(comparer, questions, butterflies.folder, appearances, "butterfly")
    named = [row for row in rows if row["question_type"] == 1]
    assert all(row["correct"] for row in named)
    assert {max(row["scores"]) for row in named} == {0.5}  # the mean over two sentences, of which one fits
    assert len(rows) == len(questions)
    assert {(row["model"], row["mode"], row["image"]) for row in rows} == {("baseline", "contrastive", "with")}


def test_a_siglip_checkpoint_loads_and_answers_as_a_clip_does(butterflies, siglip_folder):
    """A random tiny one: its answers are chance, its path is that of a real one."""
    loaded = clip.load_comparer(siglip_folder)
    sentences = ["It is orange.", "It has white spots on the border of its wings."]
    together, alone = loaded.sentences(sentences), loaded.sentences(sentences[:1])
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)
    full = loaded.processor.tokenizer(sentences[0], padding="max_length", return_tensors="pt")["input_ids"]
    assert full.shape == (1, 64)  # as SigLIP was trained: padded to full length, no mask
    with torch.inference_mode():
        by_hand = loaded.model.get_text_features(input_ids=full).pooler_output[0]
    torch.testing.assert_close(alone[0], by_hand / by_hand.norm(), atol=1e-5, rtol=1e-4)
    appearances = clip.appearances_by_option(butterflies.texts)
    rows = clip.by_description(loaded, butterflies.questions, butterflies.folder, appearances, "butterfly")
    assert len(rows) == len(butterflies.questions)
    assert all(len(set(row["scores"])) == 4 for row in rows)
