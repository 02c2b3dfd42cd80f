"""Training and scoring at 7B beside their peers: one process and one base model for all, random weights.

    benchmarks/gpu/run.sh first rows.jsonl           on a machine with a GPU; then `second`
    python benchmarks/gpu/one.py rows.jsonl --small  the same code with shrunk models, also on a CPU
    python benchmarks/gpu/one.py rows.jsonl --table h100.csv   the table of what is there

A base is loaded once. The ways of a row (`PLAN`) take turns on it, in order and then in reverse (ABBA), each with an
adapter of its own and the same seed, data (drawn butterflies of 448 pixels), rank, batch and precision. Each run is one
line of JSON at once, so that nothing is lost when time runs out; after ``--seconds`` nothing new starts.

Step times are those of the epochs after the first, in which images are encoded, kernels chosen and graphs captured. A
run is void unless its first loss is within `LOSS_OFF` and its first gradient norm within `NORM_OFF` of those of the
first peer in its row. Energy is NVML's counter over the whole training, of the whole card.

| way | what |
|---|---|
| before | as measured on 2026-11-26: paged 8-bit AdamW, bitsandbytes' products, no graphs, images encoded in turn |
| plain | as this project trains by default, but without CUDA graphs |
| graph | with CUDA graphs |
| selective | graphs, and norms and activations computed twice, products once |
| compiled | graphs, and each layer compiled: minutes first |
| memory | the least memory: tower and embeddings in main memory, full checkpointing, 8-bit AdamW |
| trl | SFTTrainer as it comes, with torch's first choice of attention (cuDNN's on Hopper) |
| trl_nocudnn | the same without cuDNN's attention |
| trl_tuned | also without checkpointing |
| lm_eval | lm-evaluation-harness's runner (scoring) |
| unsloth, llamafactory | in processes and environments of their own (`peers.py`), where these are given |

A way that is not possible here (a setting that this version lacks, a package that is not there) is told with its
reason.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks"), str(Path(__file__).parent)]

OURS: dict[str, dict[str, Any]] = {
    "before": {
        "optimizer": "paged_adamw_8bit",
        "unpack_weights": False,
        "cuda_graphs": False,
        "encode_threads": 0,
    },
    "plain": {"cuda_graphs": False},
    "graph": {"cuda_graphs": True},
    "selective": {"cuda_graphs": True, "gradient_checkpointing": "selective"},
    "compiled": {"cuda_graphs": True, "compile_layers": True},
    "memory": {
        "main_memory": True,
        "gradient_checkpointing": True,
        "optimizer": "adamw_8bit",
        "unpack_weights": False,
        "cuda_graphs": False,
    },
}
TRL: dict[str, dict[str, Any]] = {"trl": {}, "trl_nocudnn": {}, "trl_tuned": {"gradient_checkpointing": False}}
APART = ("unsloth", "llamafactory")
LOSS_OFF, NORM_OFF = 0.005, 0.02
QUESTIONS, SMALL_QUESTIONS = 96, 6
PARTS = ("first", "second", "third")
QWEN, LLAVA = "qwen2-vl-7b", "llava-1.6-vicuna-7b"


class Row(NamedTuple):
    """``repeats``: of each way, every second time in reverse order. ``what``: steps, figure 2 or scoring."""

    part: str
    model: str
    mode: str
    ways: tuple[str, ...]
    samples: int = 40
    batch: int = 4
    repeats: int = 2
    what: str = "steps"


PLAN = (  # the most telling first; 40 samples in batches of 4 are 10 steps per epoch
    Row("first", QWEN, "text_only", ("trl_tuned", "graph", "before", "trl")),
    Row("first", QWEN, "text_only", ("trl_tuned", "plain", "trl_nocudnn"), repeats=1),
    Row(
        "first", QWEN, "text_only", ("trl_nocudnn", "selective", "trl_tuned", "graph"), 160, 80
    ),  # 8,192 tokens per pass
    Row("first", QWEN, "image_text", ("trl_tuned", "graph", "trl")),
    Row("first", QWEN, "text_only", ("memory",), repeats=1),
    Row("first", QWEN, "image_text", ("selective", "before", "plain"), repeats=1),
    Row("first", QWEN, "text_only", ("graph",), 100, 4, 5, "figure 2"),
    Row("first", QWEN, "image_text", ("graph",), 100, 4, 5, "figure 2"),
    Row("second", LLAVA, "text_only", ("trl_tuned", "graph", "trl"), repeats=1),
    Row("second", LLAVA, "image_text", ("trl_tuned", "graph", "trl"), 20, repeats=1),
    Row("second", LLAVA, "text_only", ("memory",), repeats=1),
    Row("second", LLAVA, "image_text", ("lm_eval", "scoring"), QUESTIONS, 8, what="scoring"),
    Row("second", LLAVA, "text_only", ("graph",), 40, 4, 5, "figure 2"),
    Row("second", LLAVA, "image_text", ("graph",), 40, 4, 5, "figure 2"),
    Row("second", QWEN, "image_text", ("lm_eval", "scoring"), QUESTIONS, 16, what="scoring"),
    Row("third", QWEN, "text_only", ("compiled",), 100, 4, 1),
    Row("third", QWEN, "text_only", APART, 40, 4, 1),
    Row("third", QWEN, "image_text", APART, 40, 4, 1),
)


# ---- measuring -------------------------------------------------------------------------------------------------------


def synchronised() -> float:
    """The time, when the GPU has done all that it was asked for."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def energy_mj() -> float | None:
    """Millijoules that the card has used so far; None if NVML does not tell."""
    import torch

    if not torch.cuda.is_available():
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(0)))
    except Exception:  # an older card, or no library
        return None


class Watch:
    """Measures `Trainer.train`, whoever calls it; `found` holds the last."""

    def __init__(self) -> None:
        from transformers import Trainer

        self.found: dict[str, Any] = {}
        self.plain = Trainer.train
        Trainer.train = self._watched(Trainer.train)

    def end(self) -> None:
        """Give `Trainer` its own method back."""
        from transformers import Trainer

        Trainer.train = self.plain

    def _watched(self, train: Any) -> Any:
        def watched(trainer: Any, *arguments: Any, **keywords: Any) -> Any:
            import torch

            cuda = torch.cuda.is_available()
            trainer.args.logging_first_step = True
            trainer.add_callback(callback := _later_epochs())
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated() if cuda else 0
            energy, begin = energy_mj(), synchronised()
            outcome = train(trainer, *arguments, **keywords)
            end, used = synchronised(), energy_mj()
            step, since, cpu = callback.since or (0, begin, None)
            later = outcome.global_step - step
            self.found = {
                "seconds": end - begin,
                "steps": outcome.global_step,
                "timed_steps": later,
                "seconds_per_step": (end - since) / later,
                "cpu_seconds_per_step": None if cpu is None else (time.process_time() - cpu) / later,
                "first_loss": callback.first.get("loss"),
                "first_norm": callback.first.get("grad_norm"),
                "loss": outcome.training_loss,
                "allocated_gb": torch.cuda.max_memory_allocated() / 1e9 if cuda else None,
                "above_model_gb": (torch.cuda.max_memory_allocated() - before) / 1e9 if cuda else None,
                "reserved_gb": torch.cuda.max_memory_reserved() / 1e9 if cuda else None,
                "energy_wh": None if energy is None or used is None else (used - energy) / 3.6e6,
            }
            return outcome

        return watched


def _later_epochs() -> Any:
    from transformers import TrainerCallback

    class LaterEpochs(TrainerCallback):
        """When the second epoch began (steps done, time, processor time), and what was logged first."""

        def __init__(self) -> None:
            self.epochs, self.since, self.first = 0, None, {}

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.epochs += 1
            if self.epochs == 2:
                self.since = state.global_step, synchronised(), time.process_time()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if not self.first and logs and "grad_norm" in logs:
                self.first = {name: float(logs[name]) for name in ("loss", "grad_norm")}

    return LaterEpochs()


class NoMeter:
    """In place of `helpers.training.meter.Meter`, which takes seconds to start: `Watch` measures."""

    def __enter__(self) -> "NoMeter":
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Nothing is charged to it."""
        yield

    def record(self, of: str | None = None) -> dict[str, Any]:
        """Nothing."""
        return {}

    def write_samples(self, path: Any) -> None:
        """None."""


def ceiling() -> float:
    """Operations per second of a large product of matrices: bfloat16 on a GPU, float32 on one core of a CPU."""
    import torch

    cuda = torch.cuda.is_available()
    size, dtype, where = (8192, torch.bfloat16, "cuda") if cuda else (512, torch.float32, "cpu")
    a = torch.randn(size, size, dtype=dtype, device=where)
    seconds = []
    for _ in range(20):
        begin = synchronised()
        a @ a
        seconds.append(synchronised() - begin)
    return 2 * size**3 / statistics.median(seconds[5:])


# ---- the ways --------------------------------------------------------------------------------------------------------


class Impossible(Exception):
    """Why a way cannot be run here."""


class Bench:
    """A base model and data, on which ways take turns."""

    def __init__(self, model: str, given: argparse.Namespace, folder: Path) -> None:
        from helpers.models.loading import load_model, load_processor

        self.name, self.given, self.folder = model, given, folder
        self.path = ROOT / "data" / "models" / "rehearse" / (f"{model}-shrunk" if given.small else model)
        begin = synchronised()
        self.model, self.family = load_model(self.path, self.settings(4, {}).dtype)
        self.processor = load_processor(self.path)
        self.loaded_in = synchronised() - begin
        self.watch = Watch()
        self.tuned: Any = None
        self.replies: dict[str, dict[str, str]] = {}  # of the first way that was scored in a mode
        self.base = self._weights()

    def settings(self, batch: int, changes: dict[str, Any]) -> Any:
        """Those of the rehearsal, without dropout, which only some peers have in the same places.

        Raises `Impossible` for a setting that this version lacks, unless it would be off.
        """
        from helpers.config.profiles import load_profile

        training = load_profile("rehearse_small" if self.given.small else "rehearse").training
        unknown = {name for name in changes if name not in type(training).model_fields}
        if needed := sorted(name for name in unknown if changes[name]):
            raise Impossible(f"no setting {', '.join(needed)} in this version")
        both = {
            "epochs": self.given.epochs,
            "lora_dropout": 0.0,
            "batch_size": batch,
            "dtype": "bfloat16",
            **{name: value for name, value in changes.items() if name not in unknown},
        }
        try:
            return type(training).model_validate(training.model_dump() | both)
        except ValueError as error:
            raise Impossible(f"this version takes no {changes}") from error

    def data(self, row: Row) -> str:
        """The name of the row's file of samples, which is made from those of 100 classes."""
        name = f"{row.mode}-{row.samples}"
        if not (file := self.folder / f"{name}.jsonl").is_file():
            lines = (self.folder / f"{row.mode}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            file.write_text("".join((lines * -(-row.samples // len(lines)))[: row.samples]), encoding="utf-8")
        return name

    def run(self, row: Row, way: str) -> dict[str, Any]:
        """One run; why it was not one is a result too."""
        import torch

        try:
            if way in APART:
                return self.apart(row, way)
            if row.what == "scoring":
                return self.scored(row, way)
            counted = self.ours(row, way) if way in OURS else self.trl(row, way)
        except (Impossible, ImportError) as reason:
            return {"skipped": str(reason)}
        except Exception as error:
            from helpers.workflow.redact import scrub

            return {"failed": scrub(f"{type(error).__name__}: {error}")[:300]}
        finally:
            self.restore()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if self._weights() != self.base:
            return {"failed": "the base model is not as it was before"}
        return {**self.watch.found, **counted}

    def ours(self, row: Row, way: str) -> dict[str, Any]:
        """One of this project's ways; returns what its record counted."""
        import helpers.training.trainer as training
        from helpers.models.adapters import add_adapter
        from helpers.schemas import read_samples

        changes = dict(OURS[way])
        if self.given.small:  # bitsandbytes has no optimiser for a CPU
            changes.pop("optimizer", None)
        settings = self.settings(row.batch, changes)
        samples = read_samples(self.folder / f"{self.data(row)}.jsonl")
        self.tuned = add_adapter(self.model, self.family, settings, seed=0)
        with tempfile.TemporaryDirectory() as output, mock.patch.object(training, "Meter", NoMeter):
            given = (self.tuned, self.family, self.processor, samples, self.folder, output, settings)
            found = training.finetune(*given, seed=0).resources
        return {name: found.get(name) for name in ("tokens", "image_tokens", "flops", "vision_tower_calls")}

    def trl(self, row: Row, way: str) -> dict[str, Any]:
        """TRL's SFTTrainer, untouched, on the same base."""
        import torch
        from bench_training import trl_data
        from trl import SFTConfig, SFTTrainer

        from helpers.models.adapters import add_lora

        settings, cuda = self.settings(row.batch, {}), torch.cuda.is_available()
        torch.backends.cuda.enable_cudnn_sdp(way == "trl")  # as torch has it
        given = (settings.lora_rank, settings.lora_alpha, 0.0, True, 0)
        self.tuned = add_lora(self.model, self.family, *given)
        with tempfile.TemporaryDirectory() as output:
            arguments = SFTConfig(
                output_dir=output,
                num_train_epochs=settings.epochs,
                per_device_train_batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                lr_scheduler_type="cosine",
                warmup_steps=settings.warmup_share,  # below 1 it is a share
                max_length=None,
                completion_only_loss=True,
                use_cpu=not cuda,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                dataloader_pin_memory=cuda,
                seed=0,
                **TRL[way],
            )
            data = trl_data(self.folder, self.data(row))
            SFTTrainer(self.tuned, arguments, train_dataset=data, processing_class=self.processor).train()
        return {}

    def apart(self, row: Row, way: str) -> dict[str, Any]:
        """A peer that loads and patches in its own way, in a process and an environment of its own."""
        python = getattr(self.given, way)
        if not python:
            raise Impossible(f"no environment of {way} was given")
        saved = self.folder / f"{self.name}-saved"
        if not saved.is_dir():
            self.model.save_pretrained(saved)
            self.processor.save_pretrained(saved)
        worker = Path(__file__).with_name("peers.py")
        settings = self.settings(row.batch, {}).model_dump_json()
        command = [python, worker, way, saved, self.folder, self.data(row), settings]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        told = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
        if not told:
            raise RuntimeError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1])
        return json.loads(told[-1].removeprefix("MEASURED "))

    def scored(self, row: Row, way: str) -> dict[str, Any]:
        """The lettered questions on pictures, here or by lm-evaluation-harness; its replies are kept to be compared."""
        from bench_peer import exported, scored

        from helpers.schemas import read_questions

        folder = self.folder / "questions"
        if not folder.is_dir():
            folder.mkdir()
            exported(row.samples, folder, "large")
        questions = read_questions(folder / "questions.jsonl")
        if way == "scoring":
            from helpers.evaluation.reader import Reader

            reader = Reader(self.model, self.processor, row.batch, 64)
            begin, cpu = synchronised(), time.process_time()
            found = {one["question_id"]: one["found"][0] for one in scored(reader, questions, folder, "letter")}
        else:
            runner, evaluate = self._harness(row.batch, folder / "letter")
            begin, cpu = synchronised(), time.process_time()
            found = evaluate(runner, row.samples)
        seconds = runner.seconds if way != "scoring" else synchronised() - begin
        replies = {name: reply.strip() for name, reply in found.items()}
        others = self.replies.setdefault(row.mode, replies)
        return {
            "seconds": seconds,
            "cpu_seconds": time.process_time() - cpu,
            "questions": len(replies),
            "questions_per_second": len(replies) / seconds,
            "same_reply": sum(others[name] == reply for name, reply in replies.items()),
        }

    def _harness(self, batch: int, tasks: Path) -> tuple[Any, Callable[[Any, int], dict[str, str]]]:
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager
        from peer_worker import Runner, timed

        path = str(self.path)

        class OnThis(Runner):  # type: ignore[misc, valid-type]
            """The harness's runner on a model that is loaded already."""

            def _create_tokenizer(self, pretrained: Any, *given: Any, **named: Any) -> None:
                super()._create_tokenizer(path)

        runner, used = OnThis(self.model, batch_size=batch), {"wall": 0.0, "cpu": 0.0}
        timed(runner, used)

        def evaluate(lm: Any, number: int) -> dict[str, str]:
            manager = TaskManager(include_path=str(tasks), include_defaults=False)
            asked = {"tasks": ["letter"], "task_manager": manager, "limit": number, "bootstrap_iters": 0}
            samples = simple_evaluate(lm, apply_chat_template=True, **asked)["samples"]["letter"]
            lm.seconds = used["wall"]
            return {sample["doc"]["question_id"]: sample["filtered_resps"][0] for sample in samples}

        return runner, evaluate

    def restore(self) -> None:
        """Take the adapter off, and undo what a peer did to the base."""
        import torch

        from helpers.models.adapters import remove_adapter

        torch.backends.cuda.enable_cudnn_sdp(False)
        if self.tuned is not None:
            self.tuned.get_base_model().activation_checkpointing_disable()
            self.tuned.get_base_model().disable_input_require_grads()
            remove_adapter(self.tuned, self.family)
            self.tuned = None

    def _weights(self) -> dict[str, tuple[Any, ...]]:
        return {name: (p.dtype, p.device, p.shape, p._version) for name, p in self.model.named_parameters()}


# ---- all of them -----------------------------------------------------------------------------------------------------


def order(row: Row) -> Iterator[str]:
    """The ways in turn, and every second time in reverse."""
    for repeat in range(row.repeats):
        yield from reversed(row.ways) if repeat % 2 else row.ways


def smaller(row: Row) -> Row:
    """The row as it is rehearsed: two steps per epoch of at most eight samples, twice at most."""
    batch = min(row.batch, 8)
    samples = SMALL_QUESTIONS if row.what == "scoring" else min(row.samples, 2 * batch)
    return row._replace(samples=samples, batch=batch, repeats=min(row.repeats, 2))


def void(found: dict[str, Any], peer: dict[str, Any] | None) -> str | None:
    """Why a run does not count; None if it does, or if there is no peer to tell."""
    if peer is None or "seconds" not in found:
        return None
    for name, most in (("first_loss", LOSS_OFF), ("first_norm", NORM_OFF)):
        mine, theirs = found.get(name), peer.get(name)
        if mine is None or theirs is None or not abs(mine - theirs) <= most * abs(theirs):
            return f"{name} is {mine}, the peer's {theirs}"
    return None


def main(given: argparse.Namespace) -> None:
    """The plan's rows, one after another, each run a line."""
    import torch
    from bench_training import make_data

    from helpers.workflow.provenance import hardware, package_versions

    begin = time.monotonic()
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    names = ("torch", "transformers", "peft", "bitsandbytes", "liger_kernel", "trl", "lm_eval")
    about = {
        "hardware": hardware(),
        "versions": package_versions(names),
        "date": time.strftime("%Y-%m-%d"),
        "small": given.small,
        "ceiling_tflops": ceiling() / 1e12,
    }
    tell(given.out, about)
    rows = [row for row in PLAN if row.part in given.parts and row.what in given.what]
    if given.small:
        rows = [smaller(row) for row in rows]
    with tempfile.TemporaryDirectory() as scratch:
        make_data(Path(scratch), 8 if given.small else 100, 448, ("name_to_description",))
        bench: Bench | None = None
        for row in rows:
            for number, way in enumerate(order(row)):
                told = {**row._asdict(), "way": way, "turn": number}
                del told["ways"], told["repeats"]
                if given.ways and way not in given.ways:
                    continue
                if time.monotonic() - begin > given.seconds:
                    tell(given.out, {**told, "skipped": f"{given.seconds:g} s had passed"})
                    continue
                if bench is None or bench.name != row.model:
                    if bench is not None:
                        bench.watch.end()
                    bench = None  # frees the memory first
                    gc.collect()
                    bench = Bench(row.model, given, Path(scratch))
                    tell(given.out, {"model": row.model, "what": "load", "seconds": bench.loaded_in})
                    counted: dict[Any, dict[str, Any]] = {}
                    peers: dict[Any, dict[str, Any]] = {}
                found, key = bench.run(row, way), (row.mode, row.samples, row.batch, row.what)
                if way in TRL and "seconds" in found:
                    peers.setdefault(key, found)
                if found.get("flops"):
                    counted.setdefault(key, found)
                if row.what == "steps":
                    found["void"] = void(found, peers.get(key))
                tell(given.out, told | found | rates(found, counted.get(key), about["ceiling_tflops"]))
        if bench is not None:
            bench.watch.end()
    tell(given.out, {"what": "end", "seconds": time.monotonic() - begin})


def rates(found: dict[str, Any], counted: dict[str, Any] | None, top: float) -> dict[str, Any]:
    """Tokens and operations per second, as counted for one of our runs on the same data."""
    if "seconds_per_step" not in found or counted is None:
        return {}
    per_step = {name: counted[name] / counted["steps"] for name in ("tokens", "flops")}
    tflops = per_step["flops"] / found["seconds_per_step"] / 1e12
    return {
        "tokens_per_step": per_step["tokens"],
        "tokens_per_second": per_step["tokens"] / found["seconds_per_step"],
        "tflops": tflops,
        "share_of_ceiling": tflops / top,
    }


def tell(out: Path, line: dict[str, Any]) -> None:
    """One line of JSON, at once in the file and on the terminal."""
    rounded = {name: float(f"{value:.5g}") if isinstance(value, float) else value for name, value in line.items()}
    text = json.dumps(rounded)
    with out.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
    print(text, flush=True)


def table(lines: Sequence[dict[str, Any]]) -> Any:
    """A row per model, mode, batch and way: medians of the runs that count, and how many times as fast as peers."""
    import pandas

    about: dict[str, Any] = {}
    runs = []
    for line in lines:
        if "hardware" in line:
            about = {"hardware": line["hardware"], "versions": json.dumps(line["versions"]), "date": line["date"]}
        elif "way" in line:
            runs.append(about | line)
    frame = pandas.DataFrame(runs)
    for name in ("void", "seconds", "seconds_per_step", "questions_per_second"):
        frame[name] = frame.get(name)
    counts = frame[frame["seconds"].notna() & frame["void"].isna()]
    key = ["what", "model", "mode", "samples", "batch"]
    numbers = [name for name in counts.select_dtypes("number") if name not in ("turn", "samples", "batch")]
    groups = counts.groupby([*key, "way"], sort=False)
    made = groups[numbers].median().join(groups.size().rename("runs")).reset_index()
    for peer in ("trl", "trl_tuned", "lm_eval"):
        unit = "seconds" if peer == "lm_eval" else "seconds_per_step"
        theirs = made[made["way"] == peer].set_index(key)[unit]
        made[f"times_{peer}"] = [
            round(theirs[place] / value, 2) if (place := tuple(one)) in theirs.index and value == value else None
            for one, value in zip(made[key].itertuples(index=False), made[unit], strict=True)
        ]
    ends = groups[list(about)].last().reset_index(drop=True)
    return made.join(ends)


def arguments() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="lines of JSON are added to it")
    parser.add_argument("--table", type=Path, help="write the table of what is in the file, and run nothing")
    parser.add_argument("--small", action="store_true", help="shrunk models, two steps per epoch")
    parser.add_argument(
        "--parts", nargs="+", default=["first", "second", "third"], choices=["first", "second", "third"]
    )
    parser.add_argument("--what", nargs="+", default=["steps", "figure 2", "scoring"])
    parser.add_argument("--ways", nargs="+", choices=[*OURS, *TRL, *APART, "scoring", "lm_eval"], help="default: all")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after them nothing new starts")
    parser.add_argument("--epochs", type=int, default=2)
    for peer in APART:
        parser.add_argument(f"--{peer}", help=f"the Python of an environment with {peer}")
    return parser


if __name__ == "__main__":
    chosen = arguments().parse_args()
    if chosen.table:
        read = [json.loads(line) for line in chosen.out.read_text(encoding="utf-8").splitlines()]
        table(read).to_csv(chosen.table, index=False)
    else:
        main(chosen)
