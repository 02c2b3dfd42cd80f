"""One pass over a tree of tokens gives what one pass a question and option gives; features are computed once."""

import random

import pytest
import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import helpers.evaluation.reader as reader_module
from helpers.evaluation.prefix_trees import LARGEST, Tree, plant, sees
from helpers.evaluation.prompts import Prompt, Shown
from helpers.evaluation.protocols import choose_option
from helpers.evaluation.reader import LONG, WITHOUT_IMAGES, Reader
from helpers.images import open_image
from helpers.models import vision_cache
from helpers.models.batches import IGNORED, assistant, training_batch
from helpers.models.loading import load_model, load_processor
from helpers.models.vision_cache import FeatureCache, image_features
from helpers.paths import DATA

ANSWERS = ["It is small.", "This is the Monarch.", "It lives in meadows.", "It lives in forests of the north."]


@pytest.fixture(scope="module", params=["tiny-qwen2-vl", "tiny-llava-next"])
def loaded(request):
    path = DATA / "models" / request.param
    return load_model(path, four_bit=False)[0], load_processor(path)


@pytest.fixture
def reader(loaded):
    return Reader(*loaded, batch_size=3, max_new_tokens=12)


@pytest.fixture
def prompts(butterflies):
    """Two questions each of three pictures, one of them in another size, and two without."""
    asked = butterflies.questions[:6]
    shown = [
        Prompt(q.question, Shown(butterflies.folder / q.image, 1500 if i > 3 else None)) for i, q in enumerate(asked)
    ]
    return [*shown, Prompt(asked[0].question), Prompt("How large is the Monarch?")]


def reference(reader, prompt, answer):
    """One full pass of the library's own processor and model for one question and answer."""
    image = prompt.source.open() if prompt.source else None
    batch = training_batch(reader.processor, [[prompt.message, assistant(answer)]], [image], 512)
    labels = batch.pop("labels")[:, 1:]
    with torch.inference_mode():
        logs = reader.model(**batch).logits[:, :-1].float().log_softmax(-1)
    each = logs.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return each[labels != IGNORED]


@pytest.fixture(params=[LONG, 1], ids=["plain attention", "fused kernel"])
def _long(request, monkeypatch):
    """Each way in which a CPU attends; at the end it must have been taken."""
    monkeypatch.setattr("helpers.evaluation.reader.LONG", request.param)
    taken, plain = [], ALL_ATTENTION_FUNCTIONS["sdpa"]
    monkeypatch.setitem(
        ALL_ATTENTION_FUNCTIONS, "sdpa", lambda *given, **more: taken.append(1) or plain(*given, **more)
    )
    yield
    assert bool(taken) == (request.param == 1)


@pytest.mark.usefixtures("_long")
def test_a_tree_gives_what_one_pass_a_question_and_option_gives(reader, prompts):
    found = reader.likelihoods(prompts, [ANSWERS] * len(prompts), "test")
    for prompt, likelihoods in zip(prompts, found, strict=True):
        each = [reference(reader, prompt, answer) for answer in ANSWERS]
        assert [one.total for one in likelihoods] == pytest.approx([e.sum().item() for e in each], abs=2e-4)
        assert [one.tokens for one in likelihoods] == [len(e) for e in each]
        assert likelihoods[0].mean == pytest.approx(each[0].mean().item(), abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 2, 50])
def test_batches_change_no_score_and_no_reply(loaded, reader, prompts, batch_size):
    other = Reader(*loaded, batch_size=batch_size, max_new_tokens=12)
    scores = [
        [one.total for four in r.likelihoods(prompts, [ANSWERS] * len(prompts), "test") for one in four]
        for r in (reader, other)
    ]
    assert scores[1] == pytest.approx(scores[0], abs=1e-4)
    assert other.replies(prompts, "test") == reader.replies(prompts, "test")


def test_trees_are_read_in_passes_of_like_size_that_a_cpus_cache_holds(loaded, reader, prompts, monkeypatch):
    many = Reader(*loaded, batch_size=50, max_new_tokens=12)
    at_once = many.likelihoods(prompts, [ANSWERS] * len(prompts), "test")
    monkeypatch.setattr("helpers.evaluation.reader.TOKENS_AT_ONCE", 100)
    assert list(many._passes([50, 20, 51, 30, 120, 10])) == [[5, 1, 3], [0], [2], [4]]
    assert list(reader._passes([9] * 5)) == [[0, 1, 2], [3, 4]]
    again = many.likelihoods(prompts, [ANSWERS] * len(prompts), "test")
    for found, expected in zip(again, at_once, strict=True):
        assert [one.total for one in found] == pytest.approx([one.total for one in expected], abs=1e-4)


def test_answers_continue_alike_whether_one_by_one_or_several_at_once(loaded, reader, prompts):
    reader.likelihoods(prompts[6:7], [ANSWERS], "test")
    alone = Reader(*loaded, batch_size=3, max_new_tokens=12)
    assert reader._continuations == {answer: alone.continuation(answer) for answer in ANSWERS}


@pytest.mark.usefixtures("_long")
def test_replies_are_those_of_the_librarys_own_generation(reader, prompts):
    texts = [
        reader.processor.apply_chat_template([p.message], tokenize=False, add_generation_prompt=True) for p in prompts
    ]
    expected = []
    for text, prompt in zip(texts, prompts, strict=True):
        images = {"images": [prompt.source.open()]} if prompt.source else {}
        batch = reader.processor(text=[text], **images, return_tensors="pt")
        tokens = reader.model.generate(**batch, do_sample=False, max_new_tokens=12)[0, batch["input_ids"].shape[1] :]
        expected.append((reader.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip(), len(tokens)))
    assert [tuple(reply) for reply in reader.replies(prompts, "test")] == expected


def test_scores_do_not_depend_on_what_was_written_before(reader, prompts):
    before = reader.likelihoods(prompts, [ANSWERS] * len(prompts), "test")
    reader.replies(prompts[:3], "test")
    assert reader.likelihoods(prompts, [ANSWERS] * len(prompts), "test") == before


def test_the_likeliest_of_many_answers_is_found_by_reading_few_to_their_end(reader, prompts, monkeypatch):
    """With fewer beginnings than there are, the likeliest among those with the likeliest beginnings."""
    names = ["Monarch", "Monarch of the north", "Red Admiral", "Red Fox", "Atala", "Ringlet", "Heath"]
    answers = [f"This is the {name}." for name in names]
    every = reader.likelihoods(prompts, [answers] * len(prompts), "test")
    expected = [answers[max(range(len(names)), key=lambda i: four[i].total)] for four in every]
    monkeypatch.setattr("helpers.evaluation.reader.BEGINNINGS", len(names))
    assert reader.likeliest(prompts, answers, "test") == expected
    read_to_the_end = []
    likelihoods = Reader.likelihoods
    monkeypatch.setattr(
        Reader,
        "likelihoods",
        lambda self, asked, left, what: read_to_the_end.extend(left) or likelihoods(self, asked, left, what),
    )
    monkeypatch.setattr("helpers.evaluation.reader.BEGINNINGS", 1)
    found = reader.likeliest(prompts, answers, "test")
    assert all(len({answer.split()[3][0] for answer in left}) == 1 for left in read_to_the_end)
    assert all(name in left for name, left in zip(found, read_to_the_end, strict=True))
    assert reader.likeliest(prompts, answers[:1], "test") == answers[:1] * len(prompts)


def test_the_same_answer_to_the_same_prompt_is_read_once(reader, prompts, monkeypatch):
    sizes, read = [], Reader._read

    def noting(self, trees, seen):
        sizes.extend(len(tree.tokens) for tree in trees)
        return read(self, trees, seen)

    monkeypatch.setattr(Reader, "_read", noting)
    alone = reader.likelihoods(prompts, [ANSWERS] * len(prompts), "test")
    once = sum(sizes)
    several = [[ANSWERS[(i + j) % 4] for j in range(3)] for i in range(len(prompts))]
    again = reader.likelihoods([*prompts, *prompts], [*several, *[ANSWERS] * len(prompts)], "test")
    assert sum(sizes) == 2 * once
    assert again[len(prompts) :] == alone
    assert again[: len(prompts)] == [[four[(i + j) % 4] for j in range(3)] for i, four in enumerate(alone)]


def test_many_answers_to_one_prompt(reader, prompts):
    many = [
        f"It is {size}, {colour}." for size in ("small", "large", "long") for colour in ("red", "blue", "black", "grey")
    ]
    found = reader.likelihoods(prompts[6:7], [many], "test")[0]
    assert [one.total for one in found] == pytest.approx(
        [reference(reader, prompts[6], answer).sum().item() for answer in many], abs=2e-4
    )


def test_a_picture_is_seen(reader, prompts):
    with_image, without = reader.likelihoods([prompts[0], prompts[6]], [ANSWERS] * 2, "test")
    assert prompts[0].text == prompts[6].text
    assert with_image[0].total != pytest.approx(without[0].total)


def test_each_picture_passes_the_tower_once_whatever_is_asked(reader, prompts):
    for _ in range(2):
        reader.likelihoods(prompts, [ANSWERS] * len(prompts), "test")
        reader.replies(prompts, "test")
    assert reader.features.computed == len({p.source.key for p in prompts if p.source}) == 3


def test_kept_features_are_those_of_the_tower(reader, prompts):
    cache, sources = FeatureCache(), [p.source for p in prompts[:4]]
    first, again = (cache.of(reader.model, reader.processor, sources, "base") for _ in range(2))
    alone = image_features(reader.model, reader.processor, [sources[0].open()])[0]
    torch.testing.assert_close(first[sources[0].key].embeddings, alone.embeddings, atol=1e-5, rtol=1e-5)
    assert cache.computed == len(first) == len({source.key for source in sources})
    assert all(again[key] is first[key] for key in first)


def test_memory_for_features_is_bounded(reader, prompts):
    sources = [p.source for p in prompts[:5:2]]
    cache = FeatureCache(limit_mb=0.02)  # one picture of the tiny models
    for source in sources:
        cache.of(reader.model, reader.processor, [source], "base")
    assert len(cache._held) == 1
    assert cache.of(reader.model, reader.processor, sources, "base").keys() == {s.key for s in sources}


def test_a_prompt_that_spells_the_picture_token_is_refused(reader):
    with pytest.raises(ValueError, match="1 image tokens in a prompt with 0 images"):
        reader.write([Prompt(f"What does {reader.processor.image_token} mean?")], "test")


def test_a_template_whose_prompt_does_not_begin_the_chat_is_refused(reader, monkeypatch):
    turns = "{% for m in messages %}{{ m.role }} {% for c in m.content %}{{ c.text }} {% endfor %}{% endfor %}"
    template = turns + "{% if add_generation_prompt %}now you{% endif %}"
    monkeypatch.setattr(reader.processor, "chat_template", template)
    with pytest.raises(ValueError, match=r"so the answer 'It is small\.' cannot be told from the prompt; correct the"):
        reader.continuation("It is small.")


def test_four_bits_and_an_adapter_go_through_the_same_tree(model_path, butterflies, monkeypatch):
    from helpers.models.adapters import add_lora
    from helpers.models.unpacking import _Layer

    layers, once = set(), _Layer.__call__
    monkeypatch.setattr(_Layer, "__call__", lambda self, x: layers.add(id(self.module)) or once(self, x))
    model, family = load_model(model_path)
    tuned = add_lora(model, family, 4, 8, 0.0, True, 0).eval()
    with torch.no_grad():
        for name, weights in tuned.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                weights += 0.02
    reader = Reader(tuned, load_processor(model_path), 4, 8)
    question = butterflies.questions[0]
    prompt = Prompt(question.question, open_image(butterflies.folder / question.image))
    scores = {}
    for state in ("tuned", "base"):
        with reader.untuned() if state == "base" else torch.inference_mode():
            found = reader.likelihoods([prompt], [ANSWERS], "test")[0]
            scores[state] = [one.total for one in found]
            assert scores[state] == pytest.approx(
                [reference(reader, prompt, a).sum().item() for a in ANSWERS], abs=1e-3
            )
    assert scores["tuned"] != pytest.approx(scores["base"], abs=0.01)
    assert reader.features.computed == 2  # the adapter holds a projector of its own
    assert len(layers) == 7 * model.config.text_config.num_hidden_layers
    layers.clear()
    assert reader.replies([prompt], "test", 2)
    assert len(layers) == 7 * model.config.text_config.num_hidden_layers


def test_learned_tokens_before_the_prompt_take_the_adapters_own_pass(model_path, butterflies):
    from helpers.config.profiles import load_profile
    from helpers.models.adapters import add_adapter

    settings = load_profile("smoke", {"training.method": "prompt_tuning"}).training
    model, family = load_model(model_path, four_bit=False)
    tuned = add_adapter(model, family, settings, 0).eval()
    reader = Reader(tuned, load_processor(model_path), 4, 8)
    shown = Shown(butterflies.folder / butterflies.questions[0].image)
    prompts = [Prompt("How large is the Monarch?"), Prompt("What is this butterfly called?", shown)]
    found = reader.likelihoods(prompts, [ANSWERS] * 2, "test")
    for prompt, likelihoods in zip(prompts, found, strict=True):
        image = prompt.source.open() if prompt.source else None
        batch = training_batch(reader.processor, [[prompt.message, assistant(ANSWERS[0])]], [image], 512)
        labels = batch.pop("labels")[0]
        with torch.inference_mode():
            logs = tuned(**batch).logits[0, -len(labels) :].log_softmax(-1)
        expected = sum(logs[i - 1, label].item() for i, label in enumerate(labels.tolist()) if label >= 0)
        assert likelihoods[0].total == pytest.approx(expected, abs=2e-4)
    alone = [reader.replies([prompt], "test")[0] for prompt in prompts]
    assert reader.replies(prompts, "test") == alone
    assert reader.features.computed == 1


def test_a_tree_holds_a_common_beginning_once():
    trees, branches = plant([[1, 2, 3], [1, 2, 4]], [[[7, 8], [7, 9]], [[7]]], ["p", "p"], 192)
    assert [(t.tokens, t.parents, t.depths) for t in trees] == [
        ([1, 2, 3, 7, 8, 9, 4, 7], [-1, 0, 1, 2, 3, 3, 1, 6], [0, 1, 2, 3, 4, 4, 2, 3])
    ]
    assert [[branch.nodes for branch in several] for several in branches] == [[[3, 4], [3, 5]], [[7]]]
    assert trees[0].trunk == 2
    sixth = [True, True, True, True, False, True, False, False, False]
    assert sees(trees, 0, 9)[0, 5].tolist() == sees(trees, 2, 9)[0, 3].tolist() == sixth
    assert sees(trees, 0, 9)[0, 8].tolist() == [False] * 8 + [True]


@pytest.mark.parametrize("seed", range(5))
def test_a_mask_shows_each_token_its_own_branch_alone(seed):
    draw = random.Random(seed)
    trees = [Tree() for _ in range(3)]
    for tree in trees:
        trunk = [100 + draw.randrange(50) for _ in range(draw.randint(1, 6))]
        for _ in range(draw.randint(1, 5)):
            tree.grow([*trunk, *(draw.randrange(3) for _ in range(draw.randint(0, 6)))])
    size, start = max(len(tree.tokens) for tree in trees) + 1, min(tree.trunk for tree in trees)
    for begin in {0, start}:
        for tree, seen in zip(trees, sees(trees, begin, size), strict=True):
            for node in range(begin, len(tree.tokens)):
                own, at = {node}, node
                while (at := tree.parents[at]) >= 0:
                    own.add(at)
                assert set(seen[node - begin].nonzero().flatten().tolist()) == own


def test_trees_do_not_grow_without_end():
    prompts = [[*range(90), *range(100 * i, 100 * i + 9)] for i in range(1, 60)]
    trees, _ = plant(prompts, [[[5]]] * 59, ["p"] * 59, 10_000)
    assert max(len(tree.tokens) for tree in trees) <= LARGEST * 99
    assert 1 < len(trees) < 4


@pytest.mark.parametrize(("shared", "own", "trees"), [(200, 40, 1), (4, 40, 2), (20, 200, 2)])
def test_prompts_share_a_tree_where_that_saves_work(shared, own, trees):
    prompts = [[*range(shared), *range(1000 * i, 1000 * i + own)] for i in (1, 2)]
    assert len(plant(prompts, [[[]]] * 2, ["p"] * 2, 192)[0]) == trees


def test_a_prompt_without_a_key_stands_alone():
    trees, branches = plant([[1, 2], [1, 2], [1, 2]], [[[3]], [[]], [[]]], ["", None, None], 192)
    assert sorted(tree.tokens for tree in trees) == [[1, 2], [1, 2], [1, 2, 3]]
    assert [(branch.end, branch.nodes) for (branch,) in branches] == [(1, [2]), (1, []), (1, [])]


def test_replies_are_written_in_batches_of_like_length_with_each_picture_seen_once(loaded, prompts, monkeypatch):
    reader = Reader(*loaded, batch_size=2, max_new_tokens=2)
    lengths, write = [], Reader._generated

    def noting(self, some, rows, *more):
        lengths.append([len(row) for row in rows])
        return write(self, some, rows, *more)

    monkeypatch.setattr(Reader, "_generated", noting)
    once = [prompt for i, prompt in enumerate(prompts) if i % 2 == 0 or i > 5]  # one a picture
    longer = [Prompt(f"{prompt.text} " * (1 + i % 3), prompt.image) for i, prompt in enumerate(once)]
    reader.replies(longer, "test")
    every = [length for batch in lengths for length in batch]
    assert len(every) == len(once)
    assert every == sorted(every)
    assert reader.features.computed == 3


def test_more_prompts_without_a_picture_are_written_to_at_once(loaded, prompts, monkeypatch):
    reader = Reader(*loaded, batch_size=2, max_new_tokens=4)
    asked = [Prompt(f"How large is butterfly {i}?") for i in range(9)]
    alone = [reader.replies([prompt], "test")[0] for prompt in asked]
    sizes, write = [], Reader._generated
    monkeypatch.setattr(
        Reader, "_generated", lambda self, some, *more: sizes.append(len(some)) or write(self, some, *more)
    )
    assert reader.replies(asked, "test") == alone
    assert sizes == [2 * WITHOUT_IMAGES, 1]
    sizes.clear()
    reader.replies(prompts[::2][:3], "test")  # one a picture
    assert sizes == [2, 1]


def test_a_picture_that_is_asked_about_several_times_is_read_once(reader, prompts, monkeypatch):
    sizes, read = [], Reader._grown

    def noting(self, trees, *more):
        sizes.extend(len(tree.tokens) for tree in trees)
        return read(self, trees, *more)

    monkeypatch.setattr(Reader, "_grown", noting)
    reader.replies(prompts, "test")
    images = sum(len(features.embeddings) for features in reader.features._held.values())
    alone = sum(map(len, reader._tokens(prompts, reader._seen(prompts))))
    assert len(sizes) == 5  # three pictures, and two prompts without
    assert sum(sizes) < alone - images


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """A reader takes the ways that it takes on a GPU; how many passes needed no mask is counted."""
    unmasked, through = [], Reader._pass

    def noting(self, embedded, images, visible, *more):
        unmasked.extend([embedded.shape[1]] * (visible is None))
        return through(self, embedded, images, visible, *more)

    monkeypatch.setattr(Reader, "_on_gpu", True)
    monkeypatch.setattr(Reader, "_splits", lambda self, trees, start, size: start > 0)
    monkeypatch.setattr(Reader, "_pass", noting)
    return unmasked


def test_trunks_are_read_first_on_a_gpu_where_they_are_half_of_a_tree(reader, monkeypatch):
    assert not reader._splits(1, 60, 100)
    monkeypatch.setattr(Reader, "_on_gpu", True)
    assert reader._splits(1, 50, 100)
    assert not reader._splits(1, 49, 100)
    config = reader._text_config
    monkeypatch.setattr(config, "layer_types", ["sliding_attention"] * config.num_hidden_layers, raising=False)
    assert not reader._splits(1, 60, 100)


def test_a_gpus_ways_choose_and_write_the_same(loaded, reader, prompts, request):
    answers = [ANSWERS] * len(prompts)
    plain, replies = reader.likelihoods(prompts, answers, "test"), reader.write(prompts, "test", 12)
    unmasked = request.getfixturevalue("as_on_a_gpu")
    other = Reader(*loaded, batch_size=1, max_new_tokens=8)  # several chunks, so that images are encoded ahead
    found = other.likelihoods(prompts, answers, "test")
    for one, two in zip(plain, found, strict=True):
        assert [a.total for a in one] == pytest.approx([a.total for a in two], abs=1e-4)
        assert max(range(len(one)), key=one.__getitem__) == max(range(len(two)), key=two.__getitem__)
    assert len(unmasked) >= 3  # a picture's trunk each
    assert other.write(prompts, "test", 12) == replies


@pytest.mark.parametrize("at_once", [1, 2, 32])
def test_images_that_are_encoded_ahead_give_the_same_features(reader, prompts, monkeypatch, at_once):
    monkeypatch.setattr(vision_cache, "IMAGES_AT_ONCE", at_once)
    sources = [prompt.source for prompt in prompts if prompt.source]
    plain, ahead, given = FeatureCache(), FeatureCache(), (reader.model, reader.processor)
    for start in range(0, len(sources), 2):
        some, coming = sources[start : start + 2], sources[start + 2 : start + 4]
        one, two = plain.of(*given, some, "base"), ahead.of(*given, some, "base", coming)
        assert all(torch.equal(one[key].embeddings, two[key].embeddings) for key in one)
        assert len(ahead._begun) == len({source.key for source in coming} - {*two}) > 0 or not coming or at_once > 1
    assert plain.computed == ahead.computed == 3
    assert not ahead._begun


def test_rotated_options_are_branches_of_one_picture(reader, butterflies, monkeypatch):
    grown, planted = [], reader_module.plant

    def noting(prompts, answers, keys, hidden_size):
        grown.append(planted(prompts, answers, keys, 3584))  # as at 7B, where sharing saves more
        return grown[-1]

    monkeypatch.setattr(reader_module, "plant", noting)
    question = butterflies.questions[0]
    prompt = Prompt(question.question, Shown(butterflies.folder / question.image))
    for protocol in ("letter_likelihood", "letter"):
        grown.clear()
        choose_option(protocol, reader, [prompt], [question.options], [question.answer], circular=True)
        assert [(len(trees), len(branches)) for trees, branches in grown] == [(1, 4)]


def test_a_model_that_is_not_plainly_greedy_is_left_to_the_library(reader, prompts, monkeypatch):
    monkeypatch.setattr(reader.model.generation_config, "repetition_penalty", 1.5)
    monkeypatch.setattr(Reader, "_grown", None)
    assert len(reader.replies(prompts, "test")) == len(prompts)
