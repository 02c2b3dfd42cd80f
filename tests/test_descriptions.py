"""The untuned model's descriptions: written once, found again by question and pixels, and the same for each adapter."""

import json

import pytest
import torch

from helpers.config.profiles import load_profile
from helpers.evaluation.descriptions import Descriptions
from helpers.evaluation.reader import Reader
from helpers.evaluation.run import answer_rows, untuned_descriptions
from helpers.models.adapters import add_lora
from helpers.models.loading import load_model, load_processor
from helpers.paths import DATA

RUN = {"model": "qwen2_vl", "domain": "butterfly", "mode": "base", "variant": "main", "seed": 0}
PATH = DATA / "models" / "tiny-qwen2-vl"


@pytest.fixture(scope="module")
def settings():
    changed = {"answering": ["describe_then_answer"], "max_new_tokens": 12, "batch_size": 4}
    return load_profile("demo").evaluation.model_copy(update=changed)


@pytest.fixture(scope="module")
def untuned():
    return Reader(load_model(PATH, four_bit=False)[0], load_processor(PATH), 4, 12)


@pytest.fixture(scope="module")
def tuned():
    """An adapter that changes answers: its second matrices, zero at first, are filled."""
    model, family = load_model(PATH, four_bit=False)
    model = add_lora(model, family, 4, 8, 0.0, True, 0).eval()
    torch.manual_seed(0)
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights.data, std=0.1)
    return Reader(model, load_processor(PATH), 4, 12)


def ask(reader, butterflies, settings, descriptions):
    return answer_rows(
        reader, butterflies.questions[:6], butterflies.folder, ["with"], settings, RUN, None, descriptions
    )


def test_an_adapter_takes_over_what_its_base_wrote_and_answers_the_same(
    tuned, untuned, butterflies, settings, tmp_path
):
    first = untuned_descriptions(PATH, settings, False)
    ask(untuned, butterflies, settings, first)
    first.write(tmp_path / "descriptions.jsonl")
    alone = ask(tuned, butterflies, settings, untuned_descriptions(PATH, settings, False))
    earlier = untuned_descriptions(PATH, settings, False, tmp_path / "descriptions.jsonl")
    spared = ask(tuned, butterflies, settings, earlier)
    assert spared.rows == alone.rows
    assert earlier.taken.compute_seconds > 0
    key = "describe_then_answer/option_likelihood/with"
    assert spared.timings[key]["seconds"] > earlier.taken.seconds
    assert spared.timings[key]["compute_seconds"] > earlier.taken.compute_seconds
    assert spared.timings[key]["new_tokens"] == alone.timings[key]["new_tokens"]


def test_descriptions_made_in_another_way_are_passed_over(untuned, butterflies, settings, tmp_path):
    first = untuned_descriptions(PATH, settings, False)
    ask(untuned, butterflies, settings, first)
    first.write(tmp_path / "descriptions.jsonl")
    assert untuned_descriptions(PATH, settings, False).read(tmp_path / "descriptions.jsonl") > 0
    assert untuned_descriptions(PATH, settings, True).read(tmp_path / "descriptions.jsonl") == 0
    assert untuned_descriptions("another", settings, False).read(tmp_path / "descriptions.jsonl") == 0


@pytest.mark.parametrize("text", ["", "{}", '{"made_by": {}}\n{"asked": 1}', "[1]", "no json"])
def test_what_is_no_file_of_descriptions_is_refused(tmp_path, text):
    (tmp_path / "descriptions.jsonl").write_text(text)
    with pytest.raises(ValueError, match=r"descriptions\.jsonl is not a file of descriptions .* delete it"):
        Descriptions({}).read(tmp_path / "descriptions.jsonl")


def test_the_file_holds_how_it_was_made_and_only_what_was_used(untuned, butterflies, settings, tmp_path):
    kept = untuned_descriptions(PATH, settings, False)
    ask(untuned, butterflies, settings, kept)
    kept.write(tmp_path / "descriptions.jsonl")
    head, *rows = map(json.loads, (tmp_path / "descriptions.jsonl").read_text().splitlines())
    assert head["made_by"] == {
        "model": "data/models/tiny-qwen2-vl",
        "four_bit": False,
        "dtype": "float32",
        "max_new_tokens": 12,
    }
    assert len(rows) == len({q.image for q in butterflies.questions[:6]})
