"""An adapter's model card in the hub's form: what it is, what it was trained on, what that cost, and how to use it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from helpers.config.training import Training
from helpers.models.shapes import shapes
from helpers.paths import HUB_ID, atomic_write, resolve
from helpers.workflow.provenance import licence_in, package_versions, portable

_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")
HERE = "FOLDER OF THIS FILE"  # stands for the adapter in the card's lines of code, until it has a name on the hub
Metric = dict[str, Any]  # domain, answering, protocol, questions, accuracy


def write_adapter_card(
    folder: str | Path, model: Any, settings: Training, resources: dict[str, Any], prompts: dict[str, str]
) -> Path:
    """Write ``training.json`` beside an adapter's tensors, and ``README.md`` in place of peft's empty form.

    ``prompts``: `helpers.models.chat_templates.prompt_hashes` of the processor that it was trained with.
    """
    quantisation = getattr(model.config, "quantization_config", None)
    trained = settings.model_dump() | {"quantisation": quantisation.to_dict() if quantisation else None}
    trained["computed_in"] = str(model.dtype).removeprefix("torch.")  # what `dtype` auto became
    trained["prompts"] = prompts
    with atomic_write(Path(folder) / "training.json") as temporary:
        temporary.write_text(json.dumps(trained, indent=2, default=str) + "\n", encoding="utf-8")
    path = Path(folder) / "README.md"
    base = str(portable(model.active_peft_config.base_model_name_or_path or "unknown"))
    with atomic_write(path) as temporary:
        temporary.write_text(card_text(base, json.loads(json.dumps(trained, default=str)), resources), encoding="utf-8")
    return path


def training_record(adapter: str | Path) -> dict[str, Any]:
    """An adapter's ``training.json``; empty without that file."""
    file = Path(adapter) / "training.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def revision_of(model: Any) -> dict[str, str]:
    """The revision of a base model from the hub, as the hub resolved it; empty for a local folder."""
    revision = getattr(model.config, "_commit_hash", None)
    return {"base_revision": revision} if revision else {}


def loading_lines(base: str, trained: dict[str, Any], adapter: str = HERE) -> str:
    """The lines of Python that load an adapter with peft and transformers alone. ``trained``: its ``training.json``."""
    stored = trained.get("quantisation")
    dtype = trained.get("computed_in", "auto")
    four_bit = "BitsAndBytesConfig, " if stored else ""
    lines = [
        "from peft import PeftModel",
        f"from transformers import AutoModelForImageTextToText, AutoProcessor, {four_bit}".rstrip(", "),
        f'model = AutoModelForImageTextToText.from_pretrained("{base}", dtype="{dtype}"'
        + (", quantization_config=nf4)" if stored else ")"),
        f'model = PeftModel.from_pretrained(model, "{adapter}").eval()',
        f'processor = AutoProcessor.from_pretrained("{base}")',
    ]
    if stored:
        names = ("load_in_4bit", "bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype")
        given = {name: stored[name] for name in (*names, "llm_int8_skip_modules") if stored.get(name) is not None}
        lines.insert(2, f"nf4 = BitsAndBytesConfig({', '.join(f'{k}={_literal(v)}' for k, v in given.items())})")
    return "\n".join(lines)


def _literal(value: Any) -> str:
    """As ruff would write it."""
    return json.dumps(value) if isinstance(value, str | list) else repr(value)


def licence_of(base: str) -> str:
    """The hub's id of a base model's licence, which also binds what was trained on it; "unknown" if not at hand."""
    if listed := shapes().get(base, {}).get("license"):
        return str(listed)
    return licence_in(resolve(base) / "README.md")


def card_text(
    base: str,
    trained: dict[str, Any],
    resources: dict[str, Any],
    adapter: str = HERE,
    metrics: Sequence[Metric] = (),
) -> str:
    """The card: a header that the hub reads, and the text. ``trained``: what ``training.json`` holds."""
    header: dict[str, Any] = {"library_name": "peft", "license": licence_of(base)}
    if HUB_ID.fullmatch(base):
        header["base_model"] = base  # the hub links to it; it takes no folder
    header |= {"pipeline_tag": "image-text-to-text", "tags": _tags(trained["method"], resources, base)}
    if metrics:
        results = [_result(metric) for metric in metrics]
        header["model-index"] = [{"name": adapter.rpartition("/")[2], "results": results}]
    shown = {name: value for name, value in trained.items() if name != "quantisation"}
    return f"""---
{yaml.safe_dump(header, sort_keys=False, allow_unicode=True).strip()}
---

# Adapter of `{base}`

Trained with method `{trained["method"]}` on {resources["samples"]} samples ({resources["tokens"]} tokens, of which
{resources["supervised_tokens"]} entered the loss), in {resources["steps"]} steps. The vision tower was frozen and was
called {resources["vision_tower_calls"]} times.
{_accuracies(metrics)}
## Use

With peft and transformers alone:

```python
{loading_lines(base, trained, adapter)}
```

With this project's helpers, which fail on any missing or unexpected tensor: `helpers.models.adapters.load_adapter`. To
make a standalone checkpoint for other programs: `python -m helpers.models.export merge FOLDER OUT`.

## Settings

{_table(shown)}

## Cost

{_table(resources)}

## Versions

{_table(package_versions(_PACKAGES))}
"""


def _tags(method: str, resources: dict[str, Any], base: str) -> list[str]:
    family = [f"base_model:adapter:{base}"] if HUB_ID.fullmatch(base) else []
    mode = str(resources.get("mode", "")).replace("_", "-")
    return [*family, method, *(["lora"] if method == "qlora" else []), *([mode] if mode else [])]


def _result(metric: Metric) -> dict[str, Any]:
    """One entry of the header's model-index, as the hub defines it."""
    return {
        "task": {"type": "visual-question-answering"},
        "dataset": {"name": metric["domain"], "type": metric["domain"]},
        "metrics": [
            {
                "type": "accuracy",
                "name": f"accuracy, {metric['answering']}, {metric['protocol']}",
                "value": metric["accuracy"],
                "args": {"questions": metric["questions"]},
            }
        ],
    }


def _accuracies(metrics: Sequence[Metric]) -> str:
    if not metrics:
        return ""
    columns = ("domain", "answering", "protocol", "questions", "accuracy")
    rows = ["| " + " | ".join(str(metric[name]) for name in columns) + " |" for metric in metrics]
    return "\n".join(["", "## Accuracy", "", f"| {' | '.join(columns)} |", "|---|---|---|---|---|", *rows, ""])


def _table(values: dict[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in values.items())])
