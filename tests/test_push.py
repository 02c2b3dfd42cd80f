"""An adapter for others: a card in the hub's form, six lines that load it elsewhere, and nothing else that is sent."""

import ast
import base64
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from bitsandbytes.nn import Linear4bit

from helpers.config.training import Training
from helpers.models import push
from helpers.models.adapter_card import HERE, card_text, licence_of, loading_lines, write_adapter_card
from helpers.models.adapters import add_lora, load_adapter
from helpers.models.loading import load_model, load_processor
from helpers.paths import ADAPTER, ROOT, Layout
from helpers.rows import write_rows
from helpers.schemas import AnswerRow

sys.path.insert(0, str(Path(__file__).parent))
from own_hub import COMMIT, serving, use

NAMES = {"model": "qwen2_vl", "domain": "butterfly", "mode": "text_only", "variant": "main", "seed": "0"}
COSTS = {"samples": 3, "tokens": 30, "supervised_tokens": 9, "steps": 2, "vision_tower_calls": 0, "mode": "text_only"}
QUANTISED = {
    **{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    **{"bnb_4bit_compute_dtype": "bfloat16", "llm_int8_skip_modules": ["model.visual", "lm_head"]},
}
TRAINED = Training().model_dump() | {"quantisation": QUANTISED, "computed_in": "bfloat16"}
KEY = "hf_abcdefghijklmnopqrstuvwxyz0123456789"


def header_of(card):
    return yaml.safe_load(card.split("---\n")[1])


def lines_of(card):
    return re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]


@pytest.fixture
def adapter(tuned, tmp_path):
    """A saved adapter of a tiny model that has learnt something, with its card."""
    model, _ = tuned
    model.save_pretrained(tmp_path / "adapter")
    write_adapter_card(tmp_path / "adapter", model, Training(), COSTS, {})
    return tmp_path / "adapter"


def answer(number, correct, image="with", answering="direct"):
    about = {
        "category": "size",
        "image_path": None,
        "class_id": None,
        "prompt_hash": "0",
        "description": None,
        "named": None,
    }
    return AnswerRow(
        **{**NAMES, "seed": 0, "image": image, "answering": answering, "protocol": "letter", "new_tokens": 1, **about},
        question_id=str(number),
        question_type=1,
        options=["a", "b", "c", "d"],
        answer=0,
        scores=None,
        reply="A",
        parsed=0 if correct else 1,
        correct=correct,
    )


@pytest.fixture
def run(tmp_path):
    """A run with one adapter, and a file in its folder that is nobody's business."""
    layout = Layout(tmp_path / "run")
    folder = layout.folder("training", **NAMES)
    tuned = add_lora(*load_model(ROOT / "data/models/tiny-qwen2-vl"), 4, 8, 0.0, True, 0)
    tuned.save_pretrained(folder / "adapter")
    write_adapter_card(folder / "adapter", tuned, Training(), COSTS, {})
    (folder / "adapter" / "notes.txt").write_text("private")
    (folder / "resources.json").write_text(json.dumps(COSTS))
    answers = [answer(n, n < 3) for n in range(4)] + [answer(9, True, image="without")]
    answers += [answer(n, n == 0, answering="describe_then_answer") for n in range(2)]
    write_rows(layout.file("evaluation", "answers.jsonl", **NAMES), answers)
    return layout.run


# ---- the card --------------------------------------------------------------------------------------------------------


def test_a_card_has_the_header_of_the_hub():
    metrics = [{"domain": "kviscuit", "answering": "direct", "protocol": "letter", "questions": 4, "accuracy": 0.75}]
    header = header_of(card_text("Qwen/Qwen2-VL-7B-Instruct", TRAINED, COSTS, "me/it", metrics))
    assert header["base_model"] == "Qwen/Qwen2-VL-7B-Instruct"
    assert (header["library_name"], header["license"]) == ("peft", "apache-2.0")
    assert header["tags"] == ["base_model:adapter:Qwen/Qwen2-VL-7B-Instruct", "qlora", "lora", "text-only"]
    (model,) = header["model-index"]
    (metric,) = model["results"][0]["metrics"]
    assert (model["name"], metric["type"], metric["value"]) == ("it", "accuracy", 0.75)
    assert metric["args"] == {"questions": 4}


def test_the_hub_s_own_client_reads_the_header():
    from huggingface_hub import ModelCard

    metrics = [{"domain": "kviscuit", "answering": "direct", "protocol": "letter", "questions": 4, "accuracy": 0.75}]
    data = ModelCard(card_text("Qwen/Qwen2-VL-7B-Instruct", TRAINED, COSTS, "me/it", metrics)).data
    assert (data.base_model, data.license, data.eval_results[0].metric_value) == (
        "Qwen/Qwen2-VL-7B-Instruct",
        "apache-2.0",
        0.75,
    )


def test_a_base_in_a_folder_is_no_link_and_its_licence_is_the_folder_s():
    assert "base_model" not in header_of(card_text("data/models/tiny-qwen2-vl", TRAINED, COSTS))
    assert licence_of("data/models/tiny-qwen2-vl") == "apache-2.0"
    assert licence_of("nobody/nothing") == "unknown"


def test_six_lines_load_an_adapter_in_4_bit_and_five_one_that_is_not():
    assert loading_lines("a/b", TRAINED, "me/it").split("\n") == [
        "from peft import PeftModel",
        "from transformers import AutoModelForImageTextToText, AutoProcessor, BitsAndBytesConfig",
        'nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, '
        'bnb_4bit_compute_dtype="bfloat16", llm_int8_skip_modules=["model.visual", "lm_head"])',
        'model = AutoModelForImageTextToText.from_pretrained("a/b", dtype="bfloat16", quantization_config=nf4)',
        'model = PeftModel.from_pretrained(model, "me/it").eval()',
        'processor = AutoProcessor.from_pretrained("a/b")',
    ]
    assert len(loading_lines("a/b", TRAINED | {"quantisation": None}).split("\n")) == 5


def test_the_docs_show_the_lines_of_the_paper_s_model():
    docs = (ROOT / "docs" / "seven_billion.md").read_text(encoding="utf-8")
    skipped = {"llm_int8_skip_modules": ["model.visual", "model.visual.merger", "lm_head"]}
    trained = TRAINED | {"quantisation": QUANTISED | skipped}
    lines = loading_lines("Qwen/Qwen2-VL-7B-Instruct", trained, "USER/NAME")
    assert ast.dump(ast.parse(lines_of(docs))) == ast.dump(ast.parse(lines))  # the docs wrap long lines


def test_the_card_s_lines_alone_load_the_adapter(adapter, model_path, monkeypatch):
    """As a stranger would: with peft and transformers, and nothing of this project."""
    monkeypatch.chdir(ROOT)  # the base is named relative to it
    lines = lines_of((adapter / "README.md").read_text(encoding="utf-8"))
    assert "helpers" not in lines
    found: dict = {}
    exec(lines.replace(HERE, str(adapter)), found)
    for module in found["model"].modules():
        if isinstance(module, Linear4bit):  # else bitsandbytes rounds scales at the first answer on some CPUs
            module.support_avx512bf16_for_cpu = False
    expected = load_adapter(load_model(model_path)[0], adapter)
    words = load_processor(model_path).tokenizer("The Monarch has orange wings.", return_tensors="pt")
    with torch.inference_mode():
        theirs, ours = (model(input_ids=words["input_ids"]).logits for model in (found["model"], expected))
        plain = load_model(model_path)[0](input_ids=words["input_ids"]).logits
    assert torch.allclose(theirs, ours, atol=1e-4)
    assert not torch.allclose(theirs, plain, atol=1e-2)
    assert found["processor"] is not None


# ---- what is sent ----------------------------------------------------------------------------------------------------


def test_an_adapter_is_found_by_the_beginning_of_its_place(run):
    assert push.find_adapter(run, "qwen2_vl/butterfly") == NAMES
    with pytest.raises(
        ValueError, match=r"0 adapters of run begin with 'qwen'; name one of\n  qwen2_vl/butterfly/text"
    ):
        push.find_adapter(run, "qwen")


def test_the_accuracies_are_those_of_the_run_s_rows_with_the_image(run):
    found = push.accuracies(Layout(run).file("evaluation", "answers.jsonl", **NAMES))
    assert [(m["answering"], m["questions"], m["accuracy"]) for m in found] == [
        ("describe_then_answer", 2, 0.5),
        ("direct", 4, 0.75),
    ]


def test_a_dry_run_asks_nobody_and_names_the_four_files(run, capsys):
    with serving({}) as (_, hub):
        assert push.main([str(run), "qwen2_vl", "--to", "me/it"]) == 0
        assert hub.asked == []
    said = capsys.readouterr().out
    assert re.findall(r"^  (\S+)", said, re.MULTILINE) == list(ADAPTER)
    assert "nothing was sent; --yes sends it" in said


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the hub's client uploads so
def test_yes_sends_the_four_files_and_the_key_only_in_its_header(run, capsys, monkeypatch, tmp_path):
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    monkeypatch.setenv("HF_TOKEN", KEY)
    with serving({}) as (address, hub):
        use(monkeypatch, address)
        assert push.main([str(run), "qwen2_vl", "--to", "me/it", "--yes"]) == 0
    shown = capsys.readouterr()
    assert f"/commit/{COMMIT}" in shown.out
    assert KEY not in shown.out + shown.err
    assert any(headers.get("authorization") == f"Bearer {KEY}" for _, _, headers in hub.asked)
    (commit,) = hub.commits
    sent = {line["value"]["path"]: line for line in commit if line["key"] != "header"}
    assert sent.keys() == set(ADAPTER)
    assert sent[ADAPTER[1]]["key"] == "lfsFile"
    folder = Layout(run).folder("training", **NAMES) / "adapter"
    assert hub.stored == {sent[ADAPTER[1]]["value"]["oid"]: (folder / ADAPTER[1]).read_bytes()}
    card = base64.b64decode(sent["README.md"]["value"]["content"]).decode()
    assert header_of(card)["model-index"][0]["name"] == "it"
    assert 'PeftModel.from_pretrained(model, "me/it")' in card
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_a_hub_that_refuses_is_named_without_the_key(run, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", KEY)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert push.main([str(run), "qwen2_vl", "--to", "me/it", "--yes"]) == 2
    error = capsys.readouterr().err
    assert "the hub did not take it" in error
    assert KEY not in error


def test_what_is_private_is_taken_out_of_the_texts(run, monkeypatch, tmp_path):
    folder = Layout(run).folder("training", **NAMES) / "adapter"
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(Path.home() / "models" / "mine")
    (folder / "adapter_config.json").write_text(json.dumps(config))
    monkeypatch.setenv("MY_TOKEN", KEY)
    trained = json.loads((folder / "training.json").read_text()) | {"report_to": [KEY]}
    (folder / "training.json").write_text(json.dumps(trained))
    (tmp_path / "out").mkdir()
    files = push.stage(run, NAMES, "me/it", tmp_path / "out")
    text = "".join(file.read_text(encoding="utf-8") for file in files if file.suffix != ".safetensors")
    assert KEY not in text
    assert str(Path.home()) + "/" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "nowhere"], "--to is 'nowhere'; a repository on the hub is called user/name"),
        (["--yes"], "--yes needs --to user/name"),
    ],
)
def test_a_name_that_is_missing_or_unfit_is_refused(run, capsys, arguments, message):
    assert push.main([str(run), "qwen2_vl", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_model_s_weights_are_never_sent(run, tmp_path):
    folder = Layout(run).folder("training", **NAMES) / "adapter"
    shutil.copy(ROOT / "data/models/tiny-qwen2-vl/model.safetensors", folder / ADAPTER[1])
    with pytest.raises(ValueError, match="is not an adapter's; it is not uploaded"):
        push.stage(run, NAMES, None, tmp_path)
