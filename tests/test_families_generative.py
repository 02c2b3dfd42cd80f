"""The generative members: what tells each from its neighbours. Nothing here has had a lesson."""

import random
from typing import ClassVar

import pytest
import torch
from torch import nn

from helpers.families.chameleon import ChameleonPixels
from helpers.families.cm3leon import FILL, GAP, CM3Leon
from helpers.families.coca import CoCa
from helpers.families.codes import PixelCodes
from helpers.families.interface import Course
from helpers.families.minigpt_5 import MiniGpt5
from helpers.families.scenes import unseen


class Chameleon(ChameleonPixels):
    """With codes that no lesson has made."""


class Drawer(MiniGpt5):
    """With parts that have had no lesson."""

    lends: ClassVar = {}


class Captioner(CoCa):
    """With a tower that has had no lesson."""

    lends: ClassVar = {}


class Leon(CM3Leon):
    """Without the codes that another member lends."""

    lends: ClassVar = {}


@pytest.fixture(scope="module")
def scenes():
    return unseen(8)


@pytest.fixture(scope="module")
def chameleon():
    return Chameleon()


def test_the_first_half_of_coca_sees_no_image(scenes):
    member = Captioner()
    ids, padded = member._ids(scenes.captions())
    vectors, words = member.model.text(ids, padded)
    vectors.sum().backward()
    seen = ("tower", "for_captions", "for_contrast", "seeing")
    touched = {name.split(".")[0] for name, p in member.model.named_parameters() if p.grad is not None}
    assert touched and not touched & set(seen)
    one, other = (member.model.logits(words, member.model.image(shown)[1]) for shown in (scenes.shown, -scenes.shown))
    assert not torch.allclose(one, other)  # and the second half does


def test_a_later_word_changes_no_earlier_one_in_coca():
    model = Captioner().model.eval()
    ids = torch.randint(0, 1000, (1, 6))
    padded = torch.zeros_like(ids).bool()
    changed = ids.clone()
    changed[0, -1] += 1
    before, after = (model.logits(model.text(some, padded)[1], None) for some in (ids, changed))
    torch.testing.assert_close(before[:, :-1], after[:, :-1])


def test_chameleon_gives_logits_to_codes_but_says_words_only(chameleon, scenes):
    words, entries = len(chameleon.tokenizer), chameleon.codes.entries
    with torch.no_grad():
        chameleon.model.embed_tokens.weight[:words] *= 0.01  # so that a code is likeliest everywhere
        document = torch.tensor([chameleon.document(chameleon.described("A cup."), chameleon.seen(scenes.shown)[0])])
        logits = chameleon.logits(document)
    assert logits.shape[-1] == words + entries
    assert (logits[..., words:].amax(dim=-1) > logits[..., :words].amax(dim=-1)).float().mean() > 0.9
    begun = [[], chameleon.ids("This is Gat.")]
    assert chameleon.go_on(begun, 5, slice(words)).max() < words
    assert chameleon.go_on(begun, 5, slice(words, words + entries)).min() >= words


def test_text_alone_reaches_no_code_of_an_image(chameleon):
    from helpers.families.interface import Pair

    pairs = [Pair("This is the Adonis.", "This butterfly has blue wings."), Pair("This is Gat.", "A black hat.")]
    tokens = [
        i
        for pair in pairs
        for view in (chameleon.described(pair.description), chameleon.ids(pair.naming))
        for i in view
    ]
    assert max(tokens) < len(chameleon.tokenizer)
    assert torch.isfinite(chameleon.reading_loss(pairs, random.Random(0)))


def test_chameleon_draws_and_describes_whatever_the_length_of_a_name(chameleon, scenes):
    drawn = chameleon.draw(["This is the Adonis.", "This is Gat.", "This is the Two-barred Flasher."])
    assert drawn.shape == (3, 3, 56, 56) and drawn.abs().max() <= 1
    assert len(chameleon.describe(scenes.shown)) == 8


def test_a_likelihood_does_not_depend_on_what_it_is_batched_with(chameleon, scenes):
    options = [["This is Gat.", "This is the Two-barred Flasher."]] * 8
    together = chameleon.score(options, scenes.shown)
    apart = torch.cat([chameleon.score(options[:1], one[None]) for one in scenes.shown])
    torch.testing.assert_close(together, apart, atol=1e-3, rtol=1e-3)


def test_codes_come_back_as_an_image(scenes):
    codes = PixelCodes()
    codes.encoder = nn.Sequential(nn.Upsample(size=(codes.side, codes.side)), nn.Conv2d(3, 16, 1))
    found = codes(scenes.shown)
    assert found.shape == (8, codes.count) and found.max() < codes.entries
    images = codes.images(found)
    assert images.shape == scenes.shown.shape and images.abs().max() <= 1
    torch.testing.assert_close(codes.nearest(codes.codebook[found]), found)


def test_cm3_moves_the_span_to_the_end():
    member = Leon()
    gap, fill = member.ids(GAP)[0], member.ids(FILL)[0]
    ids = [0, 11, 12, 13, 14, 15, 2]
    weights = [0.2, 0.2, 1.0, 1.0, 1.0, 1.0]
    moved, weighed = member.causal_masked(ids, weights, 2, 4)
    assert moved == [0, 11, gap, 14, 15, fill, 12, 13, 2]
    assert weighed == [0.2, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    for seed in range(50):  # a span never crosses from one view to the other
        one, two = [21, 22, 23], [31, 32, 33, 34]
        document, weights = member.lesson_document(one, two, random.Random(seed))
        assert len(weights) == len(document) - 1
        if fill in document:
            assert document.count(gap) == 1
            span = document[document.index(fill) + 1 : -1]
            assert span and (set(span) <= set(one) or set(span) <= set(two))
            assert sorted(set(document) - {gap, fill}) == sorted({*member.ids("<|endoftext|><|im_end|>"), *one, *two})


def test_neighbours_stand_in_front_of_what_they_resemble():
    member = Leon()
    member._front = [[41, 42]]
    document, weights = member.lesson_document([21, 22], [31], random.Random(0))
    assert document[1:3] == [41, 42] and len(weights) == len(document) - 1 and not member._front


def test_minigpt_5_learns_to_draw_with_a_language_model_that_stays_as_it_is(scenes):
    member = Drawer()
    before = {name: tensor.clone() for name, tensor in member.model.state_dict().items()}
    losses = member._fit("lesson", Course(2, 8), lambda _: member.lesson_loss(scenes))
    after = member.model.state_dict()
    moved = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert len(losses) == 2 and moved == {"mapper"}
    drawn = member.draw(["This is the Adonis.", "This is Gat."])
    assert drawn.shape == (2, 3, 56, 56)
