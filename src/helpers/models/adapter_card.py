"""The model card of an adapter: what it is, what it was trained on, what that cost, and how to use it."""

import json
from pathlib import Path
from typing import Any

from helpers.config.training import Training
from helpers.paths import atomic_write
from helpers.workflow.provenance import package_versions, portable

_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")


def write_adapter_card(
    folder: str | Path, model: Any, settings: Training, resources: dict[str, Any], prompts: dict[str, str]
) -> Path:
    """Write ``training.json`` beside an adapter's tensors, and ``README.md`` in place of peft's empty form.

    ``prompts``: `helpers.models.chat_templates.prompt_hashes` of the processor that it was trained with.
    """
    with atomic_write(Path(folder) / "training.json") as temporary:
        quantisation = getattr(model.config, "quantization_config", None)
        trained = settings.model_dump() | {"quantisation": quantisation.to_dict() if quantisation else None}
        trained["prompts"] = prompts
        temporary.write_text(json.dumps(trained, indent=2, default=str) + "\n", encoding="utf-8")
    path = Path(folder) / "README.md"
    base = str(portable(model.active_peft_config.base_model_name_or_path or "unknown"))
    with atomic_write(path) as temporary:
        temporary.write_text(_card(base, settings, resources), encoding="utf-8")
    return path


def revision_of(model: Any) -> dict[str, str]:
    """The revision of a base model from the hub, as the hub resolved it; empty for a local folder."""
    revision = getattr(model.config, "_commit_hash", None)
    return {"base_revision": revision} if revision else {}


def _card(base: str, settings: Training, resources: dict[str, Any]) -> str:
    return f"""---
library_name: peft
base_model: {base}
pipeline_tag: image-text-to-text
tags: [{settings.method}]
---

# Adapter of `{base}`

Trained with method `{settings.method}` on {resources["samples"]} samples ({resources["tokens"]} tokens, of which
{resources["supervised_tokens"]} entered the loss), in {resources["steps"]} steps. The vision tower was frozen and was
called {resources["vision_tower_calls"]} times.

## Use

```python
from helpers.models.loading import load_model
from helpers.models.adapters import load_adapter

model, family = load_model("{base}", dtype="{settings.dtype}", four_bit={settings.four_bit})
model = load_adapter(model, "FOLDER OF THIS FILE")  # fails on any missing or unexpected tensor
```

To make a standalone checkpoint for other programs: `python -m helpers.models.export merge FOLDER OUT`.

## Settings

{_table(settings.model_dump())}

## Cost

{_table(resources)}

## Versions

{_table(package_versions(_PACKAGES))}
"""


def _table(values: dict[str, Any]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in values.items())])
