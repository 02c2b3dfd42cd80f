"""Both 7B architectures with random weights: this project's training beside its peers', and what each measure is worth.

    benchmarks/gpu/run.sh results.csv           on a machine with one GPU: makes the peers' environments first
    benchmarks/gpu/run.sh results.csv --small   the same code with shrunk models, also on a CPU: minutes

Every run is a process of its own, on the same model (in 4 bit, from `helpers.models.random_weights`), data (drawn
butterflies of 448 pixels, one sample a class), rank, batch and precision. ``seconds`` are those of `Trainer.train`;
rates leave its first steps out (`WARM_UP`), in which kernels are loaded and chosen. Peaks are those of the GPU's
allocator (of the process's main memory without a GPU). ``share_of_ceiling`` is the achieved operations per second,
counted by the rule of `helpers.training.flops`, over those of a large matrix product on the same machine;
``*_operations.txt`` beside the table shows where the rest goes.

| way | what |
|---|---|
| ours | `helpers.training.trainer.finetune`: packed, logits at labels, checkpointing only with pictures |
| ours_checkpointing_on, ours_checkpointing_off | the same, but for that |
| ours_padded | the library's own step: padding, logits everywhere |
| ours_all_logits | packed, with logits at every token |
| ours_no_liger | where liger-kernel is installed: without its fused loss |
| ours_cudnn | with cuDNN's attention, torch's first choice on Hopper, which this project turns off |
| ours_cached | the tower's features computed once a picture |
| trl | SFTTrainer as it comes: gradient checkpointing, AdamW in float32, torch's choice of attention |
| trl_tuned | SFTTrainer with our optimiser, without cuDNN's attention, and checkpointing only with pictures |
| unsloth | its FastVisionModel on the same weights, saved once in 4 bit; with TRL's trainer, as its manual says |
| llamafactory | LLaMA-Factory's `run_exp` on the same saved weights: gradient checkpointing, AdamW in float32 |

A peer that cannot be installed is not in the table, one that cannot run has its reason there in place of numbers.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]
MODELS = ("qwen2-vl-7b", "llava-1.6-vicuna-7b")
MODES = ("text_only", "image_text")
OURS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours_checkpointing_on": {"gradient_checkpointing": True},
    "ours_checkpointing_off": {"gradient_checkpointing": False},
    "ours_padded": {"packing": False},
    "ours_all_logits": {},
    "ours_no_liger": {},
    "ours_cudnn": {},
    "ours_cached": {"tower_cache": True},
}
WARM_UP = 3  # steps
TRACED = 8  # steps
PEERS = ("trl", "trl_tuned", "unsloth", "llamafactory")
LOAD_SAVED = ("unsloth", "llamafactory")  # peers that load their own way, from weights saved in 4 bit
SAME_AS_OURS = {  # ways that differ from `ours` in one of the modes only
    "ours_cached": "text_only",
    "ours_checkpointing_off": "text_only",
    "ours_checkpointing_on": "image_text",
}


def settings(small: bool, epochs: int, changes: dict[str, Any]) -> Any:
    """The rehearsal's training settings, without dropout, which only some of the peers have in the same places."""
    from helpers.config.profiles import load_profile

    training = load_profile("rehearse_small" if small else "rehearse").training
    return training.model_copy(update={"epochs": epochs, "lora_dropout": 0.0, **changes})


# ---- one run, in a process of its own ------------------------------------------------------------------------------


class Watch:
    """Seconds and peak memory of `Trainer.train`, whoever calls it."""

    def __init__(self) -> None:
        from transformers import Trainer

        Trainer.train = self._watched(Trainer.train)
        self.result: dict[str, Any] = {}
        self.warm = (0, 0.0)  # steps done, and when

    def _step_ends(self) -> Any:
        import torch
        from transformers import TrainerCallback

        class StepEnds(TrainerCallback):
            def on_step_end(_, args: Any, state: Any, control: Any, **__: Any) -> None:
                if state.global_step == WARM_UP < state.max_steps:
                    if torch.cuda.is_available():
                        torch.cuda.synchronize()
                    self.warm = WARM_UP, time.perf_counter()

        return StepEnds()

    def _watched(self, train: Any) -> Any:
        def watched(trainer: Any, *arguments: Any, **keywords: Any) -> Any:
            import torch

            cuda = torch.cuda.is_available()
            if cuda:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            trainer.add_callback(self._step_ends())
            begin = time.perf_counter()
            self.warm = 0, begin
            outcome = train(trainer, *arguments, **keywords)
            if cuda:
                torch.cuda.synchronize()
            end = time.perf_counter()
            peaks = (torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()) if cuda else (None, None)
            self.result = {
                "seconds": end - begin,
                "seconds_a_step": (end - self.warm[1]) / (outcome.global_step - self.warm[0]),
                "steps": outcome.global_step,
                "loss": outcome.training_loss,
                "allocated_gb": None if peaks[0] is None else peaks[0] / 1e9,
                "reserved_gb": None if peaks[1] is None else peaks[1] / 1e9,
                "main_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
            }
            return outcome

        return watched


def run_ours(given: argparse.Namespace) -> dict[str, Any]:
    """One of this project's ways; returns what its record counted."""
    from helpers.models.adapters import add_adapter
    from helpers.models.loading import load_model, load_processor
    from helpers.schemas import read_samples
    from helpers.training.trainer import finetune

    chosen = settings(given.small, given.epochs, OURS[given.worker])
    model, family = load_model(given.model, chosen.dtype)
    tuned = add_adapter(model, family, chosen, seed=0)
    samples = read_samples(given.data / f"{given.mode}.jsonl")
    undo(given.worker)
    with tempfile.TemporaryDirectory() as output:
        result = finetune(tuned, family, load_processor(given.model), samples, given.data, output, chosen, seed=0)
    names = ("tokens", "image_tokens", "flops", "vision_tower_calls")
    return {name: result.resources[name] for name in names}


def undo(way: str) -> None:
    """For the ways that undo one measure that is no setting."""
    import torch

    import helpers.training.packing as packed
    import helpers.training.trainer as training

    def all_logits(model: Any, batch: dict[str, Any]) -> Any:
        count = batch["labels"].shape[1] - 1  # the last token predicts nothing; labels to be ignored add nothing
        return packed.packed_loss(model, {**batch, "supervised": torch.arange(count, device=batch["labels"].device)})

    if way == "ours_cudnn":
        torch.backends.cuda.enable_cudnn_sdp(True)
    if way == "ours_no_liger":
        packed.find_spec = lambda name: None
    if way == "ours_all_logits":
        packed.LOGIT_ROWS, training.packed_loss = 10**9, all_logits


def run_trl(given: argparse.Namespace) -> dict[str, Any]:
    """TRL's SFTTrainer on the model as this project loads it."""
    import torch

    from helpers.models.adapters import add_lora
    from helpers.models.loading import load_model, load_processor

    chosen = settings(given.small, given.epochs, {})
    model, family = load_model(given.model, chosen.dtype)
    if given.worker == "trl":
        torch.backends.cuda.enable_cudnn_sdp(True)  # as torch has it
    tuned = add_lora(model, family, chosen.lora_rank, chosen.lora_alpha, 0.0, True, 0)
    train_trl(tuned, load_processor(given.model), given, chosen)
    return {}


def train_trl(model: Any, processor: Any, given: argparse.Namespace, chosen: Any) -> None:
    """SFTTrainer with our settings where both have them."""
    import torch
    from bench_training import trl_data
    from trl import SFTConfig, SFTTrainer

    cuda = torch.cuda.is_available()
    tuned: dict[str, Any] = (
        {"gradient_checkpointing": given.mode == "image_text"} if given.worker == "trl_tuned" else {}
    )
    if given.worker == "trl_tuned" and cuda:
        tuned["optim"] = "paged_adamw_8bit"
    with tempfile.TemporaryDirectory() as output:
        arguments = SFTConfig(
            output_dir=output,
            num_train_epochs=chosen.epochs,
            per_device_train_batch_size=chosen.batch_size,
            learning_rate=chosen.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=chosen.warmup_share,  # below 1 it is a share
            max_length=None,
            completion_only_loss=True,
            bf16=chosen.dtype == "bfloat16",
            use_cpu=not cuda,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            dataloader_pin_memory=cuda,
            seed=0,
            **tuned,
        )
        trainer = SFTTrainer(
            model, arguments, train_dataset=trl_data(given.data, given.mode), processing_class=processor
        )
        for parameter in trainer.model.parameters():  # SFTTrainer makes an adapter on 4-bit weights bfloat16
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        trainer.train()


def run_unsloth(given: argparse.Namespace) -> dict[str, Any]:
    """Unsloth's patched model with SFTTrainer; the weights are those of the folder that `saved` made."""
    from unsloth import FastVisionModel  # first: it patches the libraries below when they are imported

    chosen = settings(given.small, given.epochs, {})
    model, processor = FastVisionModel.from_pretrained(str(given.saved), load_in_4bit=True)
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
    train_trl(model, processor, given, chosen)
    return {}


# By the configuration's model_type: LLaMA-Factory's template, and the projector, which ours trains in full
LLAMAFACTORY = {
    "qwen2_vl": {"template": "qwen2_vl", "additional_target": "merger"},
    "llava_next": {"template": "llava_next", "additional_target": "multi_modal_projector", "default_system": ""},
}


def run_llamafactory(given: argparse.Namespace) -> dict[str, Any]:
    """LLaMA-Factory's QLoRA as its examples have it, with our settings; the weights are those of `saved`."""
    import torch
    from llamafactory.train.tuner import run_exp

    chosen, cuda = settings(given.small, given.epochs, {}), torch.cuda.is_available()
    kind = json.loads((given.saved / "config.json").read_text(encoding="utf-8"))["model_type"]
    with tempfile.TemporaryDirectory() as scratch:
        run_exp(
            {
                "model_name_or_path": str(given.saved),
                "stage": "sft",
                "do_train": True,
                "finetuning_type": "lora",
                "lora_target": "all",  # linear layers of the language model, as the tower is frozen
                "lora_rank": chosen.lora_rank,
                "lora_alpha": chosen.lora_alpha,
                "lora_dropout": 0.0,
                **LLAMAFACTORY[kind],
                "dataset_dir": str(llamafactory_data(given.data, given.mode, Path(scratch))),
                "dataset": given.mode,
                "cutoff_len": 8192,  # more than any sample; the default would cut pictures
                "image_max_pixels": chosen.max_pixels,
                "overwrite_cache": True,
                "preprocessing_num_workers": 1,
                "output_dir": f"{scratch}/out",
                "num_train_epochs": chosen.epochs,
                "per_device_train_batch_size": chosen.batch_size,
                "learning_rate": chosen.learning_rate,
                "lr_scheduler_type": "cosine",
                "warmup_steps": chosen.warmup_share,  # below 1 it is a share
                "bf16": chosen.dtype == "bfloat16",
                "use_cpu": not cuda,
                "report_to": "none",
                "save_strategy": "no",
                "logging_steps": 1,
                "disable_tqdm": True,
                "dataloader_pin_memory": cuda,
                "seed": 0,
            }
        )
    return {}


def llamafactory_data(data: Path, mode: str, folder: Path) -> Path:
    """The samples in LLaMA-Factory's format of messages, pictures beside them, and the index that names them."""
    made = []
    for line in (data / f"{mode}.jsonl").read_text(encoding="utf-8").splitlines():
        user, assistant = json.loads(line)["messages"]
        images = [str(data / part["path"]) for part in user["content"] if part["type"] == "image"]
        question = "".join(part["text"] for part in user["content"] if part["type"] == "text")
        messages = [
            {"role": "user", "content": "<image>" * len(images) + question},
            {"role": "assistant", "content": assistant["content"][0]["text"]},
        ]
        made.append({"messages": messages} | ({"images": images} if images else {}))
    columns = {"messages": "messages"} | ({"images": "images"} if mode == "image_text" else {})
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    index = {mode: {"file_name": f"{mode}.json", "formatting": "sharegpt", "columns": columns, "tags": tags}}
    (folder / f"{mode}.json").write_text(json.dumps(made), encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps(index), encoding="utf-8")
    return folder


def profiled(given: argparse.Namespace) -> None:
    """Where the time of a few steps of `ours` goes: a table of operations, by the device's own time."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    import helpers.training.trainer as training

    run, cuda = training._trained, torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]

    def traced(trainer: Any, *arguments: Any) -> Any:
        trainer.args.max_steps = TRACED
        with profile(activities=activities) as trace:
            outcome = run(trainer, *arguments)
        order = "self_cuda_time_total" if cuda else "self_cpu_time_total"
        given.profile.write_text(trace.key_averages().table(sort_by=order, row_limit=40), encoding="utf-8")
        return outcome

    training._trained = traced


def worker(given: argparse.Namespace) -> None:
    """One run; prints what it measured, or that memory ran out."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    watch = Watch()
    if given.profile:
        profiled(given)
    others = {"unsloth": run_unsloth, "llamafactory": run_llamafactory}
    run: Callable[..., dict[str, Any]] = run_ours if given.worker in OURS else others.get(given.worker, run_trl)
    try:
        counted = run(given)
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if "memory" not in str(error):
            raise
        print("MEASURED " + json.dumps({"failed": "out of memory"}), flush=True)
        return
    names = ("torch", "transformers", "peft", "bitsandbytes", "trl", "unsloth", "llamafactory")
    versions = {name: _version(name) for name in names} | {"liger": _version("liger_kernel")}
    print("MEASURED " + json.dumps({**watch.result, **counted, "versions": versions}), flush=True)


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


# ---- all of them ---------------------------------------------------------------------------------------------------


def measure(python: str, way: str, model: Path, mode: str, data: Path, given: argparse.Namespace, **more: Path) -> Any:
    """One run in a process of its own; what went wrong is a result too, and the next run goes on."""
    from helpers.workflow.redact import scrub

    command = [python, __file__, given.out, "--worker", way, "--model", model, "--mode", mode, "--data", data]
    command += ["--epochs", str(given.epochs), *(["--small"] if given.small else [])]
    command += [part for name, value in more.items() for part in (f"--{name}", value)]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("MEASURED "):
            return json.loads(line.removeprefix("MEASURED "))
    last = scrub((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
    print(f"{way}, {model.name}, {mode}: {last}", file=sys.stderr, flush=True)
    return {"failed": last[:300]}


def ceiling() -> float:
    """Operations a second of a large product of matrices: bfloat16 on a GPU, float32 on one core of a CPU."""
    import torch

    cuda = torch.cuda.is_available()
    size, dtype, where = (8192, torch.bfloat16, "cuda") if cuda else (1024, torch.float32, "cpu")
    torch.set_num_threads(1)
    a = torch.randn(size, size, dtype=dtype, device=where)
    seconds = []
    for _ in range(20):
        if cuda:
            torch.cuda.synchronize()
        begin = time.perf_counter()
        a @ a
        if cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return 2 * size**3 / statistics.median(seconds[5:])


def saved(model: Path, folder: Path, given: argparse.Namespace) -> Path:
    """The model's random weights in 4 bit in a folder, for peers that load their own way."""
    from helpers.models.export import save_quantised

    return save_quantised(model, folder / model.name, settings(given.small, 1, {}).dtype)


def ways(mode: str, pythons: dict[str, str], asked: list[str] | None) -> list[str]:
    """What is run in a mode: of the ways asked for (None: all), each peer that there is an environment for."""
    ours = [
        way for way in OURS if SAME_AS_OURS.get(way) != mode and (way != "ours_no_liger" or find_spec("liger_kernel"))
    ]
    found = [*ours, *(peer for peer in PEERS if pythons.get(peer.partition("_")[0]))]
    return [way for way in found if way == "ours" or asked is None or way in asked]


def main(given: argparse.Namespace) -> None:
    """All ways, models and modes; the table is written anew after each model and mode, so that little is lost."""
    from bench_training import make_data

    pythons = {"trl": given.trl, **{peer: getattr(given, peer) for peer in LOAD_SAVED}}
    top = ceiling()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_data(folder, given.samples, 448, ("name_to_description",))
        for name in given.models:
            model = ROOT / "data" / "models" / "rehearse" / (f"{name}-shrunk" if given.small else name)
            copy = {"saved": saved(model, folder, given)} if any(pythons[peer] for peer in LOAD_SAVED) else {}
            for mode in given.modes:
                found = {}
                for way in ways(mode, pythons, given.ways):
                    python = pythons.get(way.partition("_")[0]) or sys.executable
                    found[way] = measure(python, way, model, mode, folder, given, **(copy if way in LOAD_SAVED else {}))
                    print(way, model.name, mode, found[way], flush=True)
                if given.trace:
                    trace = given.out.with_name(f"{given.out.stem}_{model.name}_{mode}_operations.txt")
                    measure(sys.executable, "ours", model, mode, folder, given, profile=trace)
                rows += table(model.name, mode, found, top, given)
                write(rows, given.out)


def table(model: str, mode: str, found: dict[str, Any], top: float, given: argparse.Namespace) -> list[dict[str, Any]]:
    """A row a way; tokens and operations are those that `ours` counted, as data and model are the same."""
    counted, rows = found["ours"], []
    samples, batch = given.samples * given.epochs, settings(given.small, 1, {}).batch_size
    for way, run in found.items():
        row = {"model": model, "mode": mode, "way": way, "samples": samples, "tokens": counted.get("tokens")}
        if "seconds" not in run or "seconds" not in counted:
            rows.append({**row, "failed": run.get("failed", "ours failed")})
            continue
        steps = 1 / run["seconds_a_step"]  # a second
        rate = counted["flops"] / counted["steps"] * steps
        memory = "allocated_gb" if run["allocated_gb"] is not None else "main_memory_gb"
        rows.append(
            {
                **row,
                "steps": run["steps"],
                "seconds": round(run["seconds"], 2),
                "seconds_a_step": round(run["seconds_a_step"], 3),
                "samples_per_second": round(batch * steps, 3),
                "tokens_per_second": round(counted["tokens"] / counted["steps"] * steps, 1),
                "allocated_gb": run["allocated_gb"],
                "reserved_gb": run["reserved_gb"],
                "main_memory_gb": run["main_memory_gb"],
                "times_trl": _ratio(found.get("trl"), run, "seconds_a_step"),
                "times_trl_tuned": _ratio(found.get("trl_tuned"), run, "seconds_a_step"),
                "memory_of_trl": _ratio(run, found.get("trl"), memory),
                "tflop_per_second": round(rate / 1e12, 4),
                "share_of_ceiling": round(rate / top, 3),
                "loss": run["loss"],
                "versions": json.dumps(run["versions"]),
            }
        )
    return rows


def _ratio(above: Any, below: Any, name: str) -> float | None:
    return round(above[name] / below[name], 2) if above and below and name in above and name in below else None


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """The table so far, with the machine and the date in each row."""
    import pandas
    import torch

    from helpers.paths import atomic_write
    from helpers.workflow.provenance import hardware

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    notes = {"hardware": gpu or hardware(), "date": time.strftime("%Y-%m-%d")}
    with atomic_write(out) as temporary:
        pandas.DataFrame(rows).round(3).assign(**notes).to_csv(temporary, index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true", help="shrunk models; eight samples, unless told otherwise")
    parser.add_argument("--samples", type=int, help="an epoch; default: 100, as the paper had of butterflies")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--trace", action=argparse.BooleanOptionalAction, default=True, help="where the time goes")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--ways", nargs="+", choices=[*OURS, *PEERS], help="beside ours; default: all")
    parser.add_argument("--trl", help="the Python of an environment with trl")
    parser.add_argument("--unsloth", help="the Python of an environment with unsloth")
    parser.add_argument("--llamafactory", help="the Python of an environment with llamafactory")
    for name in ("worker", "mode"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    for name in ("model", "data", "profile", "saved"):
        parser.add_argument(f"--{name}", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.samples = arguments.samples or (8 if arguments.small else 100)
    worker(arguments) if arguments.worker else main(arguments)
