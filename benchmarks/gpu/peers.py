"""A peer that loads and patches models in its own way, at work in its own environment: see `one.py`, which starts it.

    python benchmarks/gpu/peers.py unsloth|llamafactory SAVED DATA NAME SETTINGS

SAVED: the base's folder, in 4 bit; DATA, NAME: samples, as `bench_training.trl_data` reads them; SETTINGS: a
`helpers.config.training.Training` as JSON. Prints a line with what `one.Watch` measured.
"""

import json
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1])]

# By the configuration's model_type: LLaMA-Factory's template, and the projector, which ours trains in full
LLAMAFACTORY = {
    "qwen2_vl": {"template": "qwen2_vl", "additional_target": "merger"},
    "llava_next": {"template": "llava_next", "additional_target": "multi_modal_projector", "default_system": ""},
}


def shared(chosen: Any, output: str) -> dict[str, Any]:
    """Arguments that every library takes from `transformers`."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "output_dir": output,
        "num_train_epochs": chosen.epochs,
        "per_device_train_batch_size": chosen.batch_size,
        "learning_rate": chosen.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": chosen.warmup_share,  # below 1 it is a share
        "use_cpu": not cuda,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": cuda,
        "seed": 0,
    }


def unsloth(saved: Path, data: Path, name: str, chosen: Any) -> None:
    """Unsloth's patched model with TRL's trainer, as its manual says."""
    from bench_training import trl_data
    from trl import SFTConfig, SFTTrainer
    from unsloth import FastVisionModel

    model, processor = FastVisionModel.from_pretrained(str(saved), load_in_4bit=True)
    model = FastVisionModel.get_peft_model(
        model,
        finetune_vision_layers=False,
        r=chosen.lora_rank,
        lora_alpha=chosen.lora_alpha,
        lora_dropout=0.0,
        bias="none",
        random_state=0,
    )
    FastVisionModel.for_training(model)
    with tempfile.TemporaryDirectory() as output:
        arguments = SFTConfig(**shared(chosen, output), max_length=None, completion_only_loss=True)
        SFTTrainer(model, arguments, train_dataset=trl_data(data, name), processing_class=processor).train()


def llamafactory(saved: Path, data: Path, name: str, chosen: Any) -> None:
    """LLaMA-Factory's QLoRA as its examples have it, with our settings."""
    from llamafactory.train.tuner import run_exp

    kind = json.loads((saved / "config.json").read_text(encoding="utf-8"))["model_type"]
    with tempfile.TemporaryDirectory() as scratch:
        run_exp(
            {
                "model_name_or_path": str(saved),
                "stage": "sft",
                "do_train": True,
                "finetuning_type": "lora",
                "lora_target": "all",  # linear layers of the language model, as the tower is frozen
                "lora_rank": chosen.lora_rank,
                "lora_alpha": chosen.lora_alpha,
                "lora_dropout": 0.0,
                **LLAMAFACTORY[kind],
                "dataset_dir": str(llamafactory_data(data, name, Path(scratch))),
                "dataset": name,
                "cutoff_len": 8192,  # more than any sample; the default would cut pictures
                "image_max_pixels": chosen.max_pixels,
                "overwrite_cache": True,
                "preprocessing_num_workers": 1,
                "bf16": chosen.dtype == "bfloat16",
                **shared(chosen, f"{scratch}/out"),
            }
        )


def llamafactory_data(data: Path, name: str, folder: Path) -> Path:
    """The samples in LLaMA-Factory's format of messages, pictures beside them, and the index that names them."""
    made = []
    for line in (data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
        user, assistant = json.loads(line)["messages"]
        images = [str(data / part["path"]) for part in user["content"] if part["type"] == "image"]
        texts = [part["text"] for part in user["content"] if part["type"] == "text"]
        messages = [
            {"role": "user", "content": "<image>" * len(images) + texts[0]},
            {"role": "assistant", "content": assistant["content"][0]["text"]},
        ]
        made.append({"messages": messages} | ({"images": images} if images else {}))
    columns = {"messages": "messages"} | ({"images": "images"} if made and "images" in made[0] else {})
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    index = {name: {"file_name": f"{name}.json", "formatting": "sharegpt", "columns": columns, "tags": tags}}
    (folder / f"{name}.json").write_text(json.dumps(made), encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def main(way: str, saved: str, data: str, name: str, settings: str) -> None:
    """One training."""
    if way == "unsloth":
        import unsloth as _  # noqa: F401  # first: it patches the libraries below when they are imported
    from one import Watch

    watch = Watch()
    chosen = SimpleNamespace(**json.loads(settings))
    {"unsloth": unsloth, "llamafactory": llamafactory}[way](Path(saved), Path(data), name, chosen)
    print("MEASURED " + json.dumps(watch.found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
