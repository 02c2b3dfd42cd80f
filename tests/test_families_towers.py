"""What tells the members with two towers, and those that fill in masked words, from their neighbours."""

import pytest
import torch

from helpers.families.clip import Clip
from helpers.families.flava import Flava
from helpers.families.llip import Llip
from helpers.families.masked import MASK, UNSAID
from helpers.families.siglip import LENGTH, Siglip
from helpers.families.tower import WIDTH
from helpers.families.vilbert import Vilbert
from helpers.families.vl_bert import VlBert

TEXTS = ["This is the Adonis.", "This is Tower Bridge."]


@pytest.fixture
def images():
    return torch.rand(2, 3, 56, 56, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(params=[VlBert, Vilbert])
def masked(request):
    return request.param()


@pytest.mark.parametrize(("member", "alone"), [(Siglip, True), (Clip, False)])
def test_siglip_asks_of_each_pair_by_itself_and_clip_of_the_batch(member, alone):
    def pull(elsewhere):
        ones = torch.tensor([[0.5, 0.1], [elsewhere, 0.9]], requires_grad=True)
        member().pairing_loss(ones, torch.eye(2)).backward()
        return ones.grad[0, 0]

    assert torch.isclose(pull(0.1), pull(0.8)).item() is alone


def test_siglip_reads_what_is_padded():
    member = Siglip()
    ids = member.ids(TEXTS)
    assert ids.shape == (2, LENGTH)
    seen = []
    member.model.text_model.register_forward_pre_hook(lambda *given: seen.append(given[2]), with_kwargs=True)
    member.text_vectors(TEXTS)
    assert seen[0].get("attention_mask") is None


def test_the_vector_of_an_image_moves_with_the_text_in_llip(images):
    member = Llip().load()
    with torch.no_grad():
        vectors = member.model.mixer(member.image_vectors(images), member.text_vectors(TEXTS))
    assert vectors.shape == (2, 2, WIDTH)
    assert (vectors[0, 0] - vectors[0, 1]).norm() > 0.01
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(2, 2), atol=1e-4)


def test_reading_leaves_the_mixer_of_llip_out():
    member = Llip()
    ones = torch.nn.functional.normalize(torch.randn(3, WIDTH), dim=-1)
    assert torch.allclose(member.similarity(ones, ones), ones @ ones.T)
    assert not {id(p) for p in member.learns("reading")} & {id(p) for p in member.model.mixer.parameters()}


def test_a_text_alone_does_not_reach_the_third_encoder_of_flava(images):
    member = Flava()
    ids, there = member.ids(TEXTS)
    with torch.no_grad():
        assert member.model.flava(input_ids=ids, attention_mask=there).multimodal_embeddings is None
        both = member.model.flava(input_ids=ids, attention_mask=there, pixel_values=images).multimodal_embeddings
    assert both.shape[1] == 1 + (1 + 16) + ids.shape[1]


def test_every_word_of_vl_bert_carries_the_whole_image_and_regions_have_no_order(images):
    member = VlBert()
    ids, there, _ = member.batch([member.named(text, 0) for text in TEXTS])
    read = []
    member.model.bert.register_forward_pre_hook(lambda *given: read.append(given[2]["inputs_embeds"]), with_kwargs=True)
    with torch.no_grad():
        regions = member.regions(images)
        words, _ = member.encode(ids, there, regions)
        member.encode(ids, there, None)
        carried = read[0][:, : ids.shape[1]] - read[1]
        assert (carried - carried[:, :1]).abs().max() < 1e-5 < (carried[0] - carried[1]).abs().max()
        order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
        member.model.boxes = member.model.boxes[order]
        mixed, _ = member.encode(ids, there, regions[:, order])
    assert torch.allclose(words[there], mixed[there], atol=1e-4)


def test_each_stream_of_vilbert_attends_to_the_other_with_weights_of_its_own(images):
    member = Vilbert()
    ids, there, _ = member.batch([member.named(text, 0) for text in TEXTS])
    model = member.model
    own = [{id(p) for p in layers.parameters()} for layers in (model.words_to_regions, model.regions_to_words)]
    assert not own[0] & own[1]
    with torch.no_grad():
        for layer in model.words_to_regions:  # words no longer look at regions; regions look at words as before
            layer.attention.out_proj.weight.zero_()
        words, things = model(ids, there, member.regions(images))
        elsewhere, _ = model(ids, there, member.regions(images.flip(0)))
        _, other = model(ids.flip(0), there.flip(0), member.regions(images))
    assert torch.allclose(words[there], elsewhere[there], atol=1e-5)
    assert (things - other).abs().max() > 1e-3


def test_the_stream_of_regions_holds_one_learned_region_without_an_image():
    member = Vilbert()
    ids, there, _ = member.batch([member.named(TEXTS[0], 0)])
    with torch.no_grad():
        assert member.encode(ids, there, None)[1].shape[1] == 1 + 1  # and the token of the whole image


def test_a_piece_of_a_name_is_masked_with_all_that_come_later(masked):
    ids, labels = masked.named(TEXTS[1], 1, "It has a tower.")
    whole, mask = masked.pieces(TEXTS[1]), masked.tokenizer.convert_tokens_to_ids(MASK)
    assert ids[1 : len(whole) + 1] == [*whole[:3], *[mask] * (len(whole) - 4), whole[-1]]
    assert [piece for piece in labels if piece != UNSAID] == whole[3:-1]
    assert masked.named(TEXTS[1], 0)[1].count(UNSAID) == 2 + 3


def test_a_masked_member_scores_names_by_image_and_by_words(masked, images):
    options = [TEXTS, TEXTS]
    assert masked.score(options, images).shape == (2, 2)
    assert (masked.score(options, words=["It is blue.", "It is grey."]) < 0).all()


def test_a_covered_region_is_hidden_from_the_detector(masked, images):
    covered = torch.zeros(2, 16, dtype=torch.bool)
    covered[:, 3] = True  # the last patch of the first row
    other = images.clone()
    other[:, :, :14, 42:] = 0.7
    assert torch.equal(masked.regions(images, covered), masked.regions(other, covered))
    assert not torch.equal(masked.regions(images), masked.regions(other))
