"""The bridge: what is added to a description's embeddings, where, when, and that it is gone afterwards."""

from types import SimpleNamespace

import pytest
import torch

from helpers.config.profiles import load_profile
from helpers.models.adapters import add_lora
from helpers.models.loading import load_model, load_processor
from helpers.paths import DATA
from helpers.schemas import Sample, exchange
from helpers.synthetic import language as say
from helpers.synthetic.invented import invent_classes
from helpers.training import bridge as bridges
from helpers.training.bridge import TextBridge, described_in, description_marks, invented_views, text_bridge
from helpers.training.trainer import Collator, Conversations, PackedCollator, finetune

pytestmark = pytest.mark.usefixtures("no_meter")
SMOKE = load_profile("smoke").training
TINY = DATA / "models" / "tiny-qwen2-vl"


def settings(**changes):
    return SMOKE.model_copy(update={"max_steps": 2, **changes})


def sample(prompt, direction="description_to_name"):
    return Sample(
        id="a/0", domain="butterfly", class_id="a", direction=direction, messages=exchange(prompt, "This is A.")
    )


class Words(torch.nn.Module):
    """A model that is nothing but its embeddings: token 0 is (0, 0), token 1 is (1, 10), token 2 is (2, 20)."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding.from_pretrained(torch.tensor([[0.0, 0], [1, 10], [2, 20]]))

    def get_input_embeddings(self):
        return self.embed


# ---- which tokens --------------------------------------------------------------------------------------------------


def test_the_description_is_all_but_the_line_that_asks():
    assert described_in(sample("It is red.\nIt is large.\nWhat is it?")) == "It is red.\nIt is large."
    assert described_in(sample("Tell me about A.", "name_to_description")) is None


def test_a_prompt_without_a_line_of_its_own_for_the_question_is_refused():
    with pytest.raises(ValueError, match=r"sample 'a/0': the prompt has one line; .*build\.prompts"):
        described_in(sample("What is this red one?"))


def test_exactly_the_descriptions_tokens_are_marked(model_path, butterflies):
    processor = load_processor(model_path)
    samples = butterflies.samples["text_only"][:4]
    conversations = Conversations(samples, butterflies.folder, described=True)
    batch = Collator(processor, None)(conversations)
    assert batch["described"].shape == batch["input_ids"].shape
    for row, one in enumerate(samples):
        marked = processor.tokenizer.decode(batch["input_ids"][row][batch["described"][row]]).strip()
        assert marked == (described_in(one) or "")
    assert sorted(bool(described_in(one)) for one in samples) == [False, False, True, True]


def test_a_packed_batch_marks_the_same_tokens(tuned, model_path, butterflies):
    processor = load_processor(model_path)
    conversations = Conversations(butterflies.samples["text_only"][:4], butterflies.folder, described=True)
    plain, packed = Collator(processor, None)(conversations), PackedCollator(processor, None, *tuned)(conversations)
    kept = plain["attention_mask"].bool()
    assert torch.equal(packed["described"], plain["described"][kept][None])
    assert torch.equal(packed["input_ids"], plain["input_ids"][kept][None])


def test_without_a_bridge_batches_hold_no_marks(tuned, model_path, butterflies):
    conversations = Conversations(butterflies.samples["text_only"][:2], butterflies.folder)
    processor = load_processor(model_path)
    assert "described" not in Collator(processor, None)(conversations)
    assert "described" not in PackedCollator(processor, None, *tuned)(conversations)


def test_tokens_that_are_not_those_of_the_chat_are_refused(butterflies):
    conversation = Conversations(butterflies.samples["text_only"][1:2], butterflies.folder, described=True)[0]
    with pytest.raises(ValueError, match=r"cannot be found in the tokens of its chat; set training\.text_noise"):
        description_marks(load_processor(TINY), [(conversation.messages, "no such words")], torch.zeros(1, 200).long())


# ---- what is added -------------------------------------------------------------------------------------------------


def test_a_shift_moves_the_marked_tokens_by_the_vector_and_no_other():
    model, bridge = Words(), TextBridge(shift=torch.tensor([0.5, -1.0]))
    with bridge.over(model):
        bridge.marks = torch.tensor([[False, True, True]])
        assert model.embed(torch.tensor([[1, 1, 2]])).tolist() == [[[1, 10], [1.5, 9], [2.5, 19]]]


def test_noise_is_relative_to_the_marked_embeddings_and_repeats_with_the_seed():
    model, ids = Words(), torch.tensor([[1, 2, 0]])
    marks = torch.tensor([[True, True, False]])
    found = []
    for _ in range(2):
        torch.manual_seed(7)
        with (bridge := TextBridge(noise=0.5)).over(model):
            bridge.marks = marks
            found.append(model.embed(ids))
    torch.manual_seed(7)
    spread = torch.tensor([1.0, 10, 2, 20]).std()
    expected = torch.tensor([[1.0, 10], [2, 20]]) + 0.5 * spread * torch.randn(2, 2)
    assert torch.equal(found[0], found[1])
    assert torch.allclose(found[0][0, :2], expected)
    assert found[0][0, 2].tolist() == [0, 0]


def test_nothing_is_added_without_marks_or_after_the_block():
    model, bridge, ids = Words(), TextBridge(noise=9.0, shift=torch.ones(2)), torch.tensor([[1, 2]])
    with bridge.over(model):
        assert model.embed(ids).tolist() == [[[1, 10], [2, 20]]]
        bridge.marks = torch.tensor([[False, False]])
        assert model.embed(ids).tolist() == [[[1, 10], [2, 20]]]
        bridge.marks = torch.tensor([[True, True]])
    assert model.embed(ids).tolist() == [[[1, 10], [2, 20]]]


def test_the_shift_is_the_mean_image_token_minus_the_mean_word(monkeypatch):
    seen = [SimpleNamespace(embeddings=torch.tensor([[4.0, 0], [6, 0]])), SimpleNamespace(embeddings=torch.zeros(2, 2))]
    monkeypatch.setattr(bridges, "image_features", lambda model, processor, images: seen)
    tokenizer = lambda texts, add_special_tokens: {"input_ids": [[1], [2, 0]]}  # noqa: E731
    gap = bridges.modality_gap(Words(), SimpleNamespace(tokenizer=tokenizer), ["two", "images"], ["a", "b c"])
    assert gap.tolist() == [2.5 - 1, 0 - 10]  # words: (1, 10), (2, 20) and (0, 0)


def test_the_shift_is_measured_on_invented_classes():
    images, captions = invented_views("butterfly", 4)
    wordings = range(len(say.DESCRIPTIONS["butterfly"]) - 1)  # without the held-out one
    known = [
        {say.describe("butterfly", invented.appearance, wording) for wording in wordings}
        for invented in invent_classes("butterfly", 4, 0)
    ]
    assert len(images) == len(captions) == 4
    assert all(caption in of_class for caption, of_class in zip(captions, known, strict=True))
    assert invented_views("butterfly", 4)[1] == captions
    assert len(invented_views("my own classes", 4)[0]) == 8  # four of each drawn domain


def test_settings_say_which_bridge():
    model, _ = load_model(TINY, four_bit=False)
    processor = load_processor(TINY)
    assert text_bridge(model, processor, settings(), "butterfly") is None
    noise = text_bridge(model, processor, settings(text_noise=0.5), "butterfly")
    assert (noise.noise, noise.shift) == (0.5, None)
    half, whole = (text_bridge(model, processor, settings(text_shift=by), "butterfly") for by in (0.5, 1))
    assert torch.allclose(2 * half.shift, whole.shift)
    assert whole.shift.shape == (model.config.get_text_config().hidden_size,)


def test_another_draw_of_invented_classes_gives_nearly_the_same_shift():
    model, _ = load_model(TINY, four_bit=False)
    processor = load_processor(TINY)
    one, other = (bridges.modality_gap(model, processor, *invented_views("butterfly", seed=seed)) for seed in (0, 1))
    assert (one - other).norm() < 0.1 * one.norm()


# ---- in a training -------------------------------------------------------------------------------------------------


def trained(model_path, butterflies, folder, **changes):
    model, family = load_model(model_path)
    tuned = add_lora(model, family, rank=4, alpha=8, dropout=0.0, projector=True, seed=0)
    processor, chosen = load_processor(model_path), settings(**changes)
    bridge = text_bridge(tuned, processor, chosen, "butterfly")
    samples = butterflies.samples["text_only"]
    result = finetune(tuned, family, processor, samples, butterflies.folder, folder, chosen, 0, bridge=bridge)
    assert not tuned.get_base_model().get_input_embeddings()._forward_hooks
    return {name: p.detach().clone() for name, p in tuned.named_parameters() if p.requires_grad}, result


def test_a_bridge_changes_the_adapter_repeats_and_never_calls_the_tower(model_path, butterflies, tmp_path):
    plain, _ = trained(model_path, butterflies, tmp_path / "plain")
    bridged = {"text_noise": 0.5, "text_shift": 1.0}
    (one, result), (two, _) = (trained(model_path, butterflies, tmp_path / name, **bridged) for name in "ab")
    assert result.resources["vision_tower_calls"] == 0
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], plain[name]) for name in one)


def test_padded_and_packed_batches_take_the_shift_alike(butterflies, tmp_path):
    one, other = (
        trained(TINY, butterflies, tmp_path / str(packing), text_shift=1.0, packing=packing, max_steps=1)
        for packing in (True, False)
    )
    assert one[1].losses["loss"].tolist() == pytest.approx(other[1].losses["loss"].tolist(), abs=1e-4)
