"""A contrastive model takes the option whose description fits; the tiny one of the demo learns."""

import pytest
import torch

from helpers.scoring import contrastive


@pytest.fixture(scope="module")
def comparer():
    return contrastive.tiny_clip()


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
    comparer = contrastive.tiny_clip()
    losses = contrastive.train(comparer, steps=12, batch_size=8)
    assert losses[-1] < losses[0]
    comparer.model.save_pretrained(tmp_path)
    comparer.processor.save_pretrained(tmp_path)
    loaded = contrastive.load_comparer(tmp_path)
    text = ["It is orange."]
    torch.testing.assert_close(loaded.sentences(text), comparer.sentences(text), atol=1e-5, rtol=1e-4)


def test_the_option_whose_description_fits_is_taken(comparer, butterflies, monkeypatch):
    """Pictures and sentences are points on axes: a sentence of a class's own lies on the axis of its pictures."""
    questions = butterflies.questions
    own = [text.model_copy(update={"look": f"It is marked. It is like {text.class_id}."}) for text in butterflies.texts]
    axes = {sentence: i for i, sentence in enumerate(f"It is like {text.class_id}." for text in own)}

    def point(sentence):
        return torch.nn.functional.one_hot(torch.tensor(axes.setdefault(sentence, len(axes))), 512).float()

    shown = iter([f"It is like {question.class_id}." for question in questions])
    monkeypatch.setattr(comparer, "sentences", lambda several: torch.stack([point(s) for s in several]), raising=False)
    monkeypatch.setattr(
        comparer, "pictures", lambda some: torch.stack([point(next(shown)) for _ in some]), raising=False
    )
    looks = contrastive.looks_by_option(own)
    rows = contrastive.by_description(comparer, questions, butterflies.folder, looks, "butterfly")
    named = [row for row in rows if row["question_type"] == 1]
    assert all(row["correct"] for row in named)
    assert {max(row["scores"]) for row in named} == {0.5}  # the mean over two sentences, of which one fits
    assert len(rows) == len(questions)
    assert {(row["model"], row["mode"], row["image"]) for row in rows} == {("baseline", "contrastive", "with")}
