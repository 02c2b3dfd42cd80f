"""The members behind one language model: in each, the mechanism that tells it from its neighbours."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers.families import interface, language_model
from helpers.families.blip_2 import QUERIES, Blip2
from helpers.families.connectors import Connector
from helpers.families.frozen import Frozen
from helpers.families.interface import Course, Pair
from helpers.families.language_model import Exchange, Speaker, exercise, user_turn
from helpers.families.llava import Llava, Llava15
from helpers.families.minigpt_4 import MiniGpt4
from helpers.families.mllama import Mllama
from helpers.families.qwen_vl import GRID, QwenVL, places_in_grid
from helpers.families.scenes import Scenes, unseen
from helpers.synthetic import language as say

OPTIONS = [["This is the Goldwing.", "This is the Pebble Blue.", "This is the Ro.", "This is the Tansy."]] * 2
SHORT = Course(2, 2, 1e-3)


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return unseen(2)


@pytest.fixture(scope="module", autouse=True)
def lesson_of_blip_2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MiniGPT-4 borrows from BLIP-2, whose lesson is made on demand."""
    folder = tmp_path_factory.mktemp("lessons")
    Blip2().save(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interface, "CHECKPOINTS", (*interface.CHECKPOINTS, folder))
        yield


def loss_on(member: Connector, scenes: Scenes) -> None:
    """A lesson's loss on scenes that stand for known ones too, and its gradients."""
    for parameter in member.model.parameters():
        parameter.requires_grad_(False)
    for parameter in member.learns("lesson"):
        parameter.requires_grad_(True)
    member._known = iter([scenes])
    member.lesson_loss(scenes).backward()


@pytest.mark.parametrize("kind", [Frozen, Llava, MiniGpt4, Blip2, QwenVL, Mllama])
def test_the_lesson_moves_the_connector_and_not_the_language_model(kind: type[Connector], scenes: Scenes) -> None:
    member = kind()
    loss_on(member, scenes)
    assert all(parameter.grad is None for parameter in member.layers().parameters())
    assert any(parameter.grad is not None for parameter in member.learns("lesson"))


def test_frozen_sees_two_vectors_of_the_whole_image(scenes: Scenes) -> None:
    member = Frozen()
    assert member.see(scenes.shown).shape == (2, 2, language_model.WIDTH)


def test_llavas_projector_is_linear_and_that_of_1_5_is_not() -> None:
    one, other, none = torch.randn(2, 1, 128), torch.randn(2, 1, 128), torch.zeros(2, 1, 128)
    for kind, linear in ((Llava, True), (Llava15, False)):
        project = kind().model.model.multi_modal_projector
        together, apart = project(one + other), project(one) + project(other) - project(none)
        assert torch.allclose(together, apart, atol=1e-5) == linear


def test_only_minigpt_4s_map_learns() -> None:
    member = MiniGpt4()
    learning = {id(parameter) for parameter in member.learns("lesson")}
    assert learning == {id(parameter) for parameter in member.model.language_projection.parameters()}


def test_blip_2_writes_without_looking_ahead_and_its_queries_see_no_word(scenes: Scenes) -> None:
    member, patches = Blip2(), torch.randn(1, 16, 128)
    text = member._tokens([f"{member.tokenizer.bos_token}{scenes.captions()[0]}"], "right")
    mask = member.mask_of_writing(text["attention_mask"])
    other = text | {"input_ids": text["input_ids"].clone()}
    other["input_ids"][:, 5] = 700
    before, after = (member._together(patches, words, mask) for words in (text, other))
    assert torch.allclose(before[:, : QUERIES + 5], after[:, : QUERIES + 5], atol=1e-5)
    assert not torch.allclose(before[:, QUERIES + 5 :], after[:, QUERIES + 5 :], atol=1e-5)
    everyone = member.mask_of_all(text["attention_mask"])
    before, after = (member._together(patches, words, everyone) for words in (text, other))
    assert not torch.allclose(before[:, :QUERIES], after[:, :QUERIES], atol=1e-5)


def test_qwen_vl_knows_where_a_patch_is() -> None:
    resampler, patches = QwenVL().model.connector, torch.randn(1, GRID**2, 128)
    mixed = patches[:, torch.randperm(GRID**2)]
    assert not torch.allclose(resampler(patches), resampler(mixed), atol=1e-5)
    resampler.places = torch.zeros_like(resampler.places)
    assert torch.allclose(resampler(patches), resampler(mixed), atol=1e-5)
    places = places_in_grid(GRID, 8)
    assert torch.equal(places[1, :4], places[2, :4]) and torch.equal(places[1, 4:], places[5, 4:])


def test_a_closed_gate_shows_nothing(scenes: Scenes) -> None:
    member = Mllama()
    tokens = member._tokens([f"{user_turn(member.marks(), 'Name this species.')} This is the Ro."] * 2, "right")
    seen = member.see(scenes.shown)
    assert torch.allclose(member.run(tokens, seen), member.run(tokens), atol=1e-5)
    for layer in member.decoder.layers:
        if hasattr(layer, "cross_attn_attn_gate"):
            torch.nn.init.ones_(layer.cross_attn_attn_gate)
    assert not torch.allclose(member.run(tokens, seen), member.run(tokens), atol=1e-3)


@pytest.mark.parametrize("kind", [Llava, Mllama])
def test_options_are_scored_as_whole_answers(kind: type[Speaker], scenes: Scenes) -> None:
    member = kind()
    scores = member.score(OPTIONS, scenes.shown)
    held_out = Exchange(user_turn(member.marks(), say.NAMING["butterfly"].asked[say.HELD_OUT]), f" {OPTIONS[1][2]}")
    tokens = len(member._ids([held_out.answer])[0]) + 1  # and the end
    with torch.no_grad():
        alone = -tokens * member.loss_of([held_out], scenes.shown[1:])
    assert torch.isclose(scores[1, 2], alone, atol=1e-3)


def test_one_adapter_is_put_behind_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scenes: Scenes) -> None:
    monkeypatch.setattr(language_model, "ADAPTERS", tmp_path)
    told = scenes.told()
    pairs = [Pair(name, text) for name, text in zip(scenes.namings(), told, strict=True)]
    marks = []
    for kind in (Llava, Mllama):
        member = kind()
        untuned = member.score(OPTIONS, words=told)
        member.read(pairs, course=SHORT)
        marks.append(member.score(OPTIONS, words=told))
        assert not torch.allclose(marks[-1], untuned, atol=1e-3)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert all(torch.allclose(mark, marks[0], atol=1e-3) for mark in marks)


def test_a_scored_question_is_asked_nowhere_else(scenes: Scenes) -> None:
    rng, member = random.Random(0), Frozen()
    pair = Pair("This is the Ro.", "It is blue.")
    prompts = [exercise(thing, "<image>", rng).asked for thing in scenes.things * 100]
    prompts += [member.about(pair, pair.description, rng).asked for _ in range(50)]
    held_out = [wordings[say.HELD_OUT] for wordings in say.DESCRIBING.values()]
    held_out += [naming.asked[say.HELD_OUT] for naming in say.NAMING.values()]
    assert not [prompt for prompt in prompts if any(question in prompt for question in held_out)]
