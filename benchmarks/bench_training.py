"""Fine-tuning's samples a second beside TRL's SFTTrainer: same checkpoint, data, rank, batch, precision.

    python benchmarks/bench_training.py --peer ../trl/bin/python --out benchmarks/training.csv

TRL wants an environment of its own: `python -m venv ../trl && ../trl/bin/pip install trl==1.16.0 torch==2.13.0
transformers==5.23.0 peft==0.21.2 bitsandbytes==0.50.2 pydantic pandas psutil pyyaml pillow`. Each run is a process of
its own, with one thread; rounds alternate between the ways, so that a machine that is busy with other things slows all
of them. CPU seconds are those of the process during `Trainer.train`, and say more than wall seconds where others use
the cores.

| way | what |
|---|---|
| ours | `helpers.training.trainer.finetune` as the demo runs it |
| ours_cached | the same with `tower_cache` |
| ours_plain | the same without `packing`: padded batches, peft's own layers, all logits |
| trl | SFTTrainer as it comes (gradient checkpointing on), in float32, loss on the answer alone |
| trl_tuned | the same without gradient checkpointing |
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
OURS = {
    "ours": {},
    "ours_cached": {"tower_cache": True},
    "ours_plain": {"packing": False},
}
TRL = {"trl": {}, "trl_tuned": {"gradient_checkpointing": False}}
RANK, ALPHA, BATCH, RATE = 16, 32, 8, 1e-3


def make_data(folder: Path, classes: int, side: int = 56, directions: tuple[str, ...] = ()) -> None:
    """Samples and pictures (``side`` pixels) of drawn butterflies, in both modes; no directions: those of the demo."""
    from helpers.config.profiles import load_profile
    from helpers.datasets.build import build_samples
    from helpers.domains import open_domain
    from helpers.domains.drawn import save_images
    from helpers.schemas import write_samples

    domain = open_domain("butterfly", "drawn", None, classes, 1, side, 0, distractors="random")
    save_images(domain.classes, "train", 1, folder, side, 0)
    texts = domain.offline_texts(1)
    build = load_profile("demo", {"build.directions": list(directions)} if directions else {}).build
    for mode in ("text_only", "image_text"):
        write_samples(folder / f"{mode}.jsonl", build_samples(texts, mode, build))


class Clock:
    """Seconds and CPU seconds of `Trainer.train`, whoever calls it."""

    def __init__(self) -> None:
        from transformers import Trainer

        self.train = Trainer.train
        Trainer.train = self._timed(Trainer.train)

    def _timed(self, train: Any) -> Any:
        def timed(trainer: Any, *arguments: Any, **keywords: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            result = train(trainer, *arguments, **keywords)
            self.seconds, self.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
            self.loss = result.training_loss
            return result

        return timed


def run_ours(way: str, model_path: Path, data: Path, mode: str, epochs: int) -> None:
    """One of this project's ways."""
    from helpers.config.training import Training
    from helpers.models.adapters import add_adapter
    from helpers.models.loading import load_model, load_processor
    from helpers.schemas import read_samples
    from helpers.training.trainer import finetune

    settings = Training(
        method="qlora",
        epochs=epochs,
        max_steps=None,
        batch_size=BATCH,
        gradient_accumulation=1,
        learning_rate=RATE,
        warmup_share=0.0,
        weight_decay=0.0,
        lora_rank=RANK,
        lora_alpha=ALPHA,
        lora_dropout=0.0,
        train_projector=True,
        dtype="float32",
        max_pixels=None,
        checkpoint_steps=10_000,
        **OURS[way],
    )
    model, family = load_model(model_path)
    tuned = add_adapter(model, family, settings, seed=0)
    samples = read_samples(data / f"{mode}.jsonl")
    with tempfile.TemporaryDirectory() as output:
        finetune(tuned, family, load_processor(model_path), samples, data, output, settings, seed=0)


def run_trl(way: str, model_path: Path, data: Path, mode: str, epochs: int) -> None:
    """One of TRL's ways, on the model as this project loads it."""
    from trl import SFTConfig, SFTTrainer

    from helpers.models.adapters import add_lora
    from helpers.models.loading import load_model, load_processor

    model, family = load_model(model_path)
    tuned = add_lora(model, family, RANK, ALPHA, 0.0, True, 0)
    with tempfile.TemporaryDirectory() as output:
        arguments = SFTConfig(
            output_dir=output,
            num_train_epochs=epochs,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            lr_scheduler_type="cosine",
            max_length=None,
            completion_only_loss=True,
            bf16=False,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            optim="adamw_torch_fused",
            seed=0,
            **TRL[way],
        )
        processor = load_processor(model_path)
        trainer = SFTTrainer(tuned, arguments, train_dataset=trl_data(data, mode), processing_class=processor)
        for parameter in trainer.model.parameters():  # SFTTrainer makes an adapter on 4-bit weights bfloat16
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        trainer.train()


def trl_data(data: Path, mode: str) -> Any:
    """The samples in TRL's own format of prompt and completion, with the picture beside them."""
    from datasets import Dataset, Image, Sequence

    rows = [json.loads(line) for line in (data / f"{mode}.jsonl").read_text(encoding="utf-8").splitlines()]
    made = []
    for row in rows:
        user, assistant = row["messages"]
        texts = [part for part in user["content"] if part["type"] == "text"]
        images = [str(data / part["path"]) for part in user["content"] if part["type"] == "image"]
        prompt = [{"role": "user", "content": texts[0]["text"] if images else texts}]
        answer = assistant["content"][0]["text"]
        completion = [{"role": "assistant", "content": answer if images else assistant["content"]}]
        made.append({"prompt": prompt, "completion": completion} | ({"images": images} if images else {}))
    table = Dataset.from_list(made)
    return table.cast_column("images", Sequence(Image())) if "images" in table.column_names else table


def worker(arguments: argparse.Namespace) -> None:
    """One run, in this process; prints what it measured."""
    import torch

    torch.set_num_threads(1)
    clock = Clock()
    run = run_ours if arguments.worker in OURS else run_trl
    run(arguments.worker, ROOT / "data" / "models" / arguments.model, arguments.data, arguments.mode, arguments.epochs)
    measured = {"seconds": clock.seconds, "cpu_seconds": clock.cpu_seconds, "loss": clock.loss}
    print("MEASURED " + json.dumps(measured), flush=True)


def measure(python: str, way: str, model: str, mode: str, data: Path, epochs: int) -> dict[str, float]:
    """One run in a process of its own."""
    command = [python, __file__, "--worker", way, "--model", model, "--mode", mode, "--data", str(data)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [*command, "--epochs", str(epochs)], capture_output=True, text=True, env=environment, check=False
    )
    for line in done.stdout.splitlines():
        if line.startswith("MEASURED "):
            return json.loads(line.removeprefix("MEASURED "))
    raise RuntimeError(f"{way}, {model}, {mode} failed:\n{done.stderr[-3000:]}")


def main(arguments: argparse.Namespace) -> None:
    """All ways in turn, round by round; writes the table."""
    import pandas

    from helpers.paths import atomic_write
    from helpers.workflow.provenance import hardware, package_versions

    ways = [way for way in (*OURS, *(TRL if arguments.peer else {})) if not arguments.ways or way in arguments.ways]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        make_data(data, arguments.classes)
        samples = 2 * arguments.classes * arguments.epochs
        for model in arguments.models:
            for mode in ("text_only", "image_text"):
                found: dict[str, list[dict[str, float]]] = {}
                for _ in range(arguments.rounds):
                    for way in ways:
                        if way == "ours_cached" and mode == "text_only":
                            continue
                        python = arguments.peer if way in TRL else sys.executable
                        found.setdefault(way, []).append(measure(python, way, model, mode, data, arguments.epochs))
                rows += [row(model, mode, way, runs, found, samples) for way, runs in found.items()]
                print(pandas.DataFrame(rows[-len(found) :]).to_string(index=False), flush=True)
    versions = package_versions(("torch", "transformers", "peft", "bitsandbytes"))
    notes = {"hardware": hardware(), "versions": json.dumps(versions), "date": time.strftime("%Y-%m-%d")}
    table = pandas.DataFrame(rows).assign(samples=samples, rounds=arguments.rounds, batch=BATCH, rank=RANK, **notes)
    with atomic_write(arguments.out) as temporary:
        table.to_csv(temporary, index=False)


def row(model: str, mode: str, way: str, runs: list[Any], found: dict[str, Any], samples: int) -> dict[str, Any]:
    """Medians of the rounds, and how many times as fast as the peer, by processor time and by the clock."""

    def median(runs: list[Any], name: str) -> float:
        return statistics.median(run[name] for run in runs)

    faster = {
        f"times_{peer}{by}": round(median(found[peer], unit) / median(runs, unit), 2)
        for peer in TRL
        if peer in found
        for by, unit in (("", "cpu_seconds"), ("_by_the_clock", "seconds"))
    }
    return {
        "model": model,
        "mode": mode,
        "way": way,
        "samples_per_second": round(samples / median(runs, "seconds"), 1),
        "samples_per_cpu_second": round(samples / median(runs, "cpu_seconds"), 1),
        **faster,
        "loss": round(median(runs, "loss"), 4),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="the Python of an environment with trl; without it only our own ways are run")
    parser.add_argument("--models", nargs="+", default=["tiny-qwen2-vl", "tiny-llava-next"])
    parser.add_argument("--ways", nargs="+", choices=[*OURS, *TRL], help="default: all")
    parser.add_argument("--classes", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "training.csv")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    worker(given) if given.worker else main(given)
