"""Any image-text-to-text model of transformers goes the whole way, by rule: small random models of the true classes."""

import ast
import json
from types import SimpleNamespace

import pytest
import torch
from transformers import CONFIG_MAPPING

from helpers.config.training import Training
from helpers.evaluation.prompts import Prompt
from helpers.evaluation.reader import Reader
from helpers.evaluation.strategies import Exam, answer_all
from helpers.images import open_image
from helpers.models.adapters import add_adapter, load_adapter, trainable_groups
from helpers.models.export import merge
from helpers.models.family import Fast
from helpers.models.loading import linear_layers, load_model, load_processor
from helpers.models.miniatures import MINIATURES, miniature, narrowed
from helpers.models.registry import WRITTEN, family_of
from helpers.models.rule import by_rule
from helpers.models.verdicts import known_verdicts
from helpers.paths import ROOT
from helpers.training import probe
from helpers.training.trainer import finetune


@pytest.fixture(scope="module", params=MINIATURES)
def small(request, tmp_path_factory):
    """A checkpoint folder of each architecture in turn."""
    folder = tmp_path_factory.mktemp(request.param)
    model, processor = miniature(request.param)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return SimpleNamespace(path=folder, type=request.param)


def test_the_probe_finds_what_is_committed(small):
    """Also the shortcuts that an architecture may not take: none is lost, or gained, unnoticed."""
    verdict = probe.probe(probe.trial_of_type(small.type))
    assert verdict == known_verdicts()[small.type], probe.verdict_in_words(verdict)


def test_a_model_is_trained_asked_saved_and_merged(small, butterflies, no_meter, tmp_path):
    model, family = load_model(small.path)  # in 4 bit
    processor = load_processor(small.path)
    names = sorted({path.rpartition(".")[2] for path in linear_layers(model, family)})
    settings = Training(method="qlora", lora_rank=2, lora_targets=names, max_steps=2, batch_size=4, report_to=[])
    tuned = add_adapter(model, family, settings, seed=0)
    groups = trainable_groups(tuned, family)
    assert groups["language_model"] > 0 and (groups["projector"] > 0) == bool(family.projector)
    assert groups["vision_tower"] == groups["other"] == 0
    samples = [*butterflies.samples["image_text"][:4], *butterflies.samples["text_only"][:4]]  # some batches are mixed
    result = finetune(tuned, family, processor, samples, butterflies.folder, tmp_path / "run", settings, seed=0)
    assert result.losses["loss"].gt(0).all() and result.losses["grad_norm"].gt(0).all()
    assert result.resources["text_tokens"] > 0 and result.resources["image_tokens"] > 0

    exam = Exam(butterflies.questions[:2], butterflies.folder)
    reader = Reader(tuned.eval(), processor, batch_size=2, max_new_tokens=4)
    for answering, protocol in (
        ("direct", "option_likelihood"),
        ("direct", "letter"),
        ("describe_then_answer", "option_likelihood"),
    ):
        rows = answer_all(reader, exam, "with", answering, protocol)
        assert len(rows) == 2 and all("correct" in row for row in rows)

    asked = [Prompt("What?", open_image(butterflies.folder / exam.questions[0].image)), Prompt("What?")]
    before = probe.likelihoods(reader, asked)
    again = load_adapter(load_model(small.path)[0], tmp_path / "run" / "adapter")
    assert torch.equal(before, probe.likelihoods(Reader(again, processor, 2, 4), asked))
    merged, _ = load_model(merge(tmp_path / "run" / "adapter", tmp_path / "merged", small.path), four_bit=False)
    after = probe.likelihoods(Reader(merged, load_processor(tmp_path / "merged"), 2, 4), asked)
    assert torch.allclose(before, after, atol=1e-3)


def test_a_text_begins_once(small):
    """Some templates write the token that begins a text, and tokenizers add it by themselves."""
    trial = probe.trial_of_type(small.type)
    if (token := trial.processor.tokenizer.bos_token_id) is not None:
        assert [row["input_ids"][0].tolist().count(token) for row in trial.encoded()] == [1] * 4


def test_a_model_that_reads_the_answer_elsewhere_is_refused(tmp_path):
    CONFIG_MAPPING["instructblip"]().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="its Q-Former reads the whole text, in training the answer too"):
        family_of(tmp_path)


def test_the_probe_finds_an_answer_that_is_read_before_it_is_written(monkeypatch):
    trial = probe.trial_of_type("llava")
    whole = trial.model.forward

    def peeking(labels=None, **given):
        if labels is not None:  # in training all words are a little more like the answer
            given["inputs_embeds"] = trial.model.get_input_embeddings()(given.pop("input_ids")) * 1.1
            given.pop("pixel_values", None)
        return whole(labels=labels, **given)

    monkeypatch.setattr(trial.model, "forward", peeking)
    assert probe.same_likelihood(trial) == "an answer has another likelihood in training than in scoring"


def test_the_written_families_are_what_the_rule_finds():
    """Apart from the tower's first module, of which the rule takes the first that multiplies."""
    for model_type in ("qwen2_vl", "llava_next"):
        model, _ = miniature(model_type)
        written, found = WRITTEN[model_type], by_rule(model, Fast())
        for name in ("model_class", "language_model", "vision_tower", "projector", "head", "text_alone", "tiles_axis"):
            assert getattr(found, name) == getattr(written, name)
        assert found.tower_entry.startswith(written.tower_entry)


def test_an_architecture_that_nobody_probed_takes_no_shortcut(monkeypatch):
    from helpers.models import verdicts

    monkeypatch.setattr(verdicts, "known_verdicts", lambda: {})
    fast = verdicts.fast_of("llava")
    assert not (fast.packing or fast.prompt_trees or fast.tower_cache)
    assert "never probed" in dict(fast.why)["packing"]


def test_a_twin_is_narrow_and_keeps_every_kind_of_layer():
    config = {
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "image_size": 336,
        "text_config": {"num_hidden_layers": 4, "layer_types": ["sliding", "sliding", "full", "sliding"]},
        "rope_parameters": {"mrope_section": [24, 20, 20]},
    }
    twin = narrowed(config)
    assert (twin["hidden_size"], twin["num_attention_heads"], twin["num_key_value_heads"]) == (32, 2, 1)
    assert twin["image_size"] == 336
    assert twin["text_config"]["layer_types"] == ["sliding", "full"]
    assert twin["rope_parameters"]["mrope_section"] == [4, 2, 2]


def test_one_model_is_probed_from_its_configuration_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(probe, "keep_verdicts", lambda found: kept.update(found))
    kept = {}
    _, processor = miniature("llava")
    model, _ = miniature("llava")
    model.config.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    probe.main([str(tmp_path)])
    said = capsys.readouterr().out
    assert "packing: yes" in said and "text only: about" in said
    assert kept["llava"] == known_verdicts()["llava"]
    assert not list(tmp_path.glob("*.safetensors"))


def test_the_table_in_the_documents_is_the_probes():
    assert probe.table(known_verdicts()) in probe.DOCS.read_text(encoding="utf-8")


def test_no_architecture_is_named_outside_the_models():
    """Elsewhere there is *the* language model, tower and projector of a family. Base models are made, not found."""
    package = ROOT / "src" / "helpers"
    named = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if file.relative_to(package).parts[0] not in ("models", "base_models", "families")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in set(MINIATURES)
    }
    # there they are names that a profile gives its models, for the order and the headings of the tables
    assert named <= {
        "results/families_page.py",
        "results/tables/order.py",
        "results/tables/paper.py",
        "workflow/published.py",
    }


def test_an_architectures_own_module_is_short():
    written = {"qwen2_vl", "llava_next"}
    for name in {kind.replace("-", "_") for kind in MINIATURES} - written:
        file = ROOT / "src" / "helpers" / "models" / f"{name}.py"
        assert not file.is_file() or len(file.read_text(encoding="utf-8").splitlines()) <= 60


def test_verdicts_are_of_the_installed_version():
    import transformers

    kept = json.loads((ROOT / "data" / "models" / "verdicts.json").read_text(encoding="utf-8"))
    assert set(kept[transformers.__version__]) == set(MINIATURES) == set(probe.KNOWN_CHECKPOINTS)
