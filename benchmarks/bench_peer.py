"""The same model and questions scored here and by lm-evaluation-harness: do the two agree, and how fast is each?

    python benchmarks/bench_peer.py [--peer FOLDER] [--questions 646] [--rounds 3] [--models tiny-qwen2-vl ...]
        [--weights untuned tuned] [--kinds demo photographs] [--dtype bfloat16] [--batch 8]

Makes the peer's environment from `peer_requirements.txt` (in ``--peer``, once; about a gigabyte), draws questions as
`bench_scoring.py` does, and exports them by `python -m helpers.evaluation.export lm-eval`.

| questions | |
|---|---|
| demo | pictures of 56 pixels, two questions each: as in the demo; a picture (16 tokens) is shorter than its question |
| photographs | pictures of 224 pixels (256 tokens), three questions each, about as K-VISCUIT has them (657 on 237) |
| large | pictures of 448 pixels, three questions each: for models of true size |

For photographs a tiny model is given with a processor that lets them pass; weights are the same. Models of true size,
by their path, are taken as they are: `helpers.models.export` saves one in 4 bit, which both sides can load, also one
with random weights (`data/models/rehearse`), and then only speed means anything.

| weights | |
|---|---|
| untuned | the checkpoint |
| tuned | the checkpoint with an adapter beside it, as a fine-tuned model is scored: LoRA with the demo's settings |

The adapter was not trained: its second matrices are drawn at random, as speed and agreement are what is asked for.

| protocol | what both do |
|---|---|
| letter | the picture and the lettered question go in; three tokens are written, greedily; a bare letter counts |
| written | the picture and the plain question go in; what is written counts if it begins with one option's sentence |
| option_likelihood | the question without its picture; the log probability of each option's sentence and end of turn |

``written`` is no protocol of the project: it is here because the tiny models know names and no letters.
The last is without pictures because the harness's multimodal runner scores no likelihoods with them.

Same checkpoint, precision, batch size, one thread (or one GPU), processes of their own, in turns; medians over the
rounds. Seconds are those of scoring: of this project everything from question to row, of the harness only its model's
method, without the building of requests. Every round starts with an empty cache of features. Memory is the peak of a
process that did nothing else; it is not looked at on a GPU.

CPU seconds are the process's own and say more than wall seconds where others use the cores.

Writes benchmarks/peer_agreement.csv.gz (a row a question) and benchmarks/peer.csv (a row a model, its weights, kind of
questions and protocol); those of others stay.
"""

import argparse
import contextlib
import csv
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench_scoring import BATCH, ROOT, _processor, drawn_questions

REQUIREMENTS = ROOT / "benchmarks" / "peer_requirements.txt"
WORKER = ROOT / "benchmarks" / "peer_worker.py"
AGREEMENT, SUMMARY = "peer_agreement.csv.gz", "peer.csv"
PROTOCOLS = ("letter", "written", "option_likelihood")
KINDS = {"demo": (56, 2), "photographs": (224, 3), "large": (448, 3)}  # pixels, questions a picture
WEIGHTS = ("untuned", "tuned")
TINY = ("tiny-qwen2-vl", "tiny-llava-next")
KEY = ("model", "weights", "kind", "protocol", "dtype", "batch")  # of a row of either table
WRITTEN_TOKENS = 24
MARK = "@@ "
FEW = 160  # the smaller size that memory is compared at

LIKELIHOOD_TASK = """task: option_likelihood
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - metric: acc
metadata:
  version: 1.0
"""

WRITTEN_TASK = """task: written
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: generate_until
doc_to_image: !function utils.doc_to_image
doc_to_text: "<image>{{{{question}}}}"
doc_to_target: answer
process_results: !function utils.process_results
generation_kwargs:
  until: []
  max_gen_toks: {tokens}
  do_sample: false
metric_list:
  - metric: accuracy
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""


# ---- the two sides ---------------------------------------------------------------------------------------------------


def peer_python(folder: Path) -> Path:
    """The interpreter of the peer's environment, which is made if it is not what the requirements say."""
    python, made = folder / "bin" / "python", folder / "requirements.txt"
    wanted = REQUIREMENTS.read_text(encoding="utf-8")
    if not made.is_file() or made.read_text(encoding="utf-8") != wanted:
        pins = [line for line in wanted.splitlines() if line and not line.startswith("#")]
        venv.create(folder, with_pip=True)
        for some in (pins[:1], pins):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *some], check=True)
        made.write_text(wanted, encoding="utf-8")
    return python


def ours(model: str, folder: str, batch: str, dtype: str, *adapter: str) -> None:
    """This project's side of the conversation; see `peer_worker.py`."""
    import torch

    from helpers.evaluation.reader import Reader
    from helpers.models.adapters import load_adapter
    from helpers.models.loading import is_quantised, load_model, load_processor
    from helpers.schemas import read_questions

    torch.set_num_threads(1)
    base = load_model(model, dtype, four_bit=is_quantised(model))[0]
    loaded = load_adapter(base, *adapter) if adapter else base, load_processor(model)
    questions = read_questions(Path(folder) / "questions.jsonl")
    print(f"{MARK}{json.dumps(base.device.type)}", flush=True)
    for line in sys.stdin:
        protocol, number = line.split()
        reader = Reader(*loaded, int(batch), 64)
        wall, cpu = time.perf_counter(), time.process_time()
        rows = scored(reader, questions[: int(number)], Path(folder), protocol)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        found = {
            "wall": wall,
            "cpu": cpu,
            "whole": wall,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "rows": rows,
        }
        print(MARK + json.dumps(found), flush=True)


def scored(reader: Any, questions: Sequence[Any], folder: Path, protocol: str) -> list[dict[str, Any]]:
    """What this project finds for each question: four scores, or a reply."""
    from helpers.evaluation.prompts import Prompt, Shown
    from helpers.evaluation.strategies import Exam, answer_all

    if protocol == "written":
        prompts = [Prompt(q.question, Shown(folder / q.image)) for q in questions]
        replies = reader.replies(prompts, "question", WRITTEN_TOKENS)
        return [{"question_id": q.question_id, "found": [r.text]} for q, r in zip(questions, replies, strict=True)]
    image = "with" if protocol == "letter" else "without"
    rows = answer_all(reader, Exam(questions, folder), image, "direct", protocol)
    return [{"question_id": row["question_id"], "found": row["scores"] or [row["reply"]]} for row in rows]


class Side:
    """One of the two, at work in a process of its own."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        quiet = {
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("PEER_LOG") else None,
            text=True,
            env={**os.environ, **quiet},
        )
        self.device = self._read()

    def ask(self, protocol: str, number: int) -> dict[str, Any]:
        """One evaluation: seconds, peak memory, and what was found for each question."""
        assert self.process.stdin
        self.process.stdin.write(f"{protocol} {number}\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        raise RuntimeError(
            f"{self.process.args} ended with status {self.process.wait()}; PEER_LOG=1 shows its messages"
        )

    def end(self) -> None:
        """Let the process come to its end."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def side(command: Sequence[str | Path]) -> Iterator[Side]:
    """A `Side` that ends with the block."""
    one = Side(command)
    try:
        yield one
    finally:
        one.end()


# ---- questions -------------------------------------------------------------------------------------------------------


def exported(number: int, folder: Path, kind: str) -> Path:
    """Drawn questions, as this project keeps them and as a task folder for the harness, which is returned."""
    from helpers.evaluation import export
    from helpers.schemas import write_questions

    questions = drawn_questions(number, folder, *KINDS[kind])
    write_questions(folder / "questions.jsonl", questions)
    tasks = folder / "letter"
    export.main(["lm-eval", str(folder), str(tasks)])
    written = WRITTEN_TASK.format(rows=json.dumps(str(tasks / "questions.jsonl")), tokens=WRITTEN_TOKENS)
    (tasks / "written.yaml").write_text(written, encoding="utf-8")
    return tasks


def with_images_of(size: int, model: Path, folder: Path) -> Path:
    """The model's folder, by links, with a processor and configuration for pictures of that many pixels a side."""
    copy = folder / str(size) / model.name
    copy.mkdir(parents=True, exist_ok=True)
    for file in model.iterdir():
        (copy / file.name).unlink(missing_ok=True)
        (copy / file.name).symlink_to(file)
    for name in ("processor_config.json", "config.json"):
        content = json.loads((copy / name).read_text(encoding="utf-8"))
        images = content.get("image_processor", content)
        if "image_grid_pinpoints" in images:
            images["image_grid_pinpoints"] = [[size, size]]
        elif "longest_edge" in images.get("size", {}):
            images["size"] = dict.fromkeys(images["size"], size * size)  # in this processor an area
        (copy / name).unlink()
        (copy / name).write_text(json.dumps(content), encoding="utf-8")
    return copy


def write_adapter(model: Path, folder: Path) -> Path:
    """LoRA on every linear layer of the language model, as the demo trains it, that changes what the model says."""
    import torch

    from helpers.config.profiles import load_profile
    from helpers.models.adapters import add_lora
    from helpers.models.loading import load_model

    chosen = load_profile("demo").training
    tuned = add_lora(
        *load_model(model, "float32", four_bit=False), chosen.lora_rank, chosen.lora_alpha, 0.0, projector=True, seed=0
    )
    generator = torch.Generator().manual_seed(0)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02, generator=generator)
    tuned.save_pretrained(folder)
    return folder


def add_likelihood_task(tasks: Path, model: Path, folder: Path) -> None:
    """The questions again, each option as the text that the model's chat template makes of it."""
    from helpers.evaluation.reader import Reader
    from helpers.models.loading import load_processor
    from helpers.schemas import read_questions

    reader = Reader(None, load_processor(model), BATCH, 64)
    decode = reader.processor.tokenizer.decode
    rows = [
        {
            "question_id": question.question_id,
            "question": question.question,
            "choices": [decode(reader.continuation(sentence)) for sentence in question.sentences()],
            "answer": question.answer,
        }
        for question in read_questions(folder / "questions.jsonl")
    ]
    file = tasks / f"{model.name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tasks / "option_likelihood.yaml").write_text(LIKELIHOOD_TASK.format(rows=json.dumps(str(file))), encoding="utf-8")


# ---- comparing -------------------------------------------------------------------------------------------------------


def compared(
    protocol: str, questions: Sequence[Any], one: dict[str, Any], other: dict[str, Any]
) -> list[dict[str, Any]]:
    """A row a question: what each chose (0 to 3, empty: unreadable), and how far their findings lie apart."""
    from helpers.evaluation.protocols import read_letter

    mine, theirs = ({row["question_id"]: row["found"] for row in found["rows"]} for found in (one, other))
    rows = []
    for question in questions:
        first, second = mine[question.question_id], theirs[question.question_id]
        if protocol != "option_likelihood":
            first, second = first[0], second[0].strip()
            chosen = tuple(map(read_letter if protocol == "letter" else _begun(question), (first, second)))
            told = {"reply_ours": first, "reply_peer": second, "largest_difference": None}
        else:
            second = [float(pair[0]) for pair in second]
            chosen = first.index(max(first)), second.index(max(second))
            apart = [a - b for a, b in zip(first, second, strict=True)]
            told = {"reply_ours": None, "reply_peer": None, "largest_difference": f"{max(apart) - min(apart):.2e}"}
        row = {"protocol": protocol, "question_id": question.question_id, "answer": question.answer}
        rows.append({**row, "ours": chosen[0], "peer": chosen[1], "agree": chosen[0] == chosen[1], **told})
    return rows


def _begun(question: Any) -> Callable[[str], int | None]:
    """Which option's sentence a reply begins with; None if it is none or several."""

    def read(reply: str) -> int | None:
        found = [i for i, sentence in enumerate(question.sentences()) if reply.startswith(sentence)]
        return found[0] if len(found) == 1 else None

    return read


def summary(rows: Sequence[dict[str, Any]], rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Agreement, accuracies and speed of one model and protocol; ``rounds``: of "ours" and of "peer"."""
    n = len(rows)
    found: dict[str, Any] = {"questions": n, "agree": sum(row["agree"] for row in rows)}
    for name in ("ours", "peer"):
        found[f"right_{name}"] = sum(row[name] == row["answer"] for row in rows)
        found[f"unreadable_{name}"] = sum(row[name] is None for row in rows)
    apart = [float(row["largest_difference"]) for row in rows if row["largest_difference"] is not None]
    found["same_reply"] = sum(row["reply_ours"] == row["reply_peer"] for row in rows) if not apart else None
    found["largest_difference"] = f"{max(apart):.2e}" if apart else None
    for unit in ("wall", "cpu"):
        for name in ("ours", "peer"):
            found[f"{unit}_seconds_{name}"] = round(statistics.median(r[unit] for r in rounds[name]), 2)
    for name in ("ours", "peer"):
        found[f"questions_per_second_{name}"] = round(n / statistics.median(r["wall"] for r in rounds[name]), 1)
    for unit in ("wall", "cpu"):
        pairs = zip(rounds["ours"], rounds["peer"], strict=True)
        found[f"times_as_fast_{unit}"] = round(
            statistics.median(theirs[unit] / mine[unit] for mine, theirs in pairs), 2
        )
    return found


def on_gpu() -> bool:
    """Whether both sides compute on a GPU."""
    import torch

    return torch.cuda.is_available()


def measured(
    commands: dict[str, list[str | Path]], questions: Sequence[Any], protocol: str, rounds: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One model and protocol: rows of `compared`, and their `summary` with memory."""
    peaks: dict[str, float] = {}
    few = min(FEW, len(questions))
    for name, command in commands.items() if not on_gpu() else ():
        with side(command) as alone:
            peaks[f"peak_rss_mb_{name}_{FEW}"] = round(alone.ask(protocol, few)["peak_rss_mb"])
    with contextlib.ExitStack() as stack:
        sides = {name: stack.enter_context(side(command)) for name, command in commands.items()}
        if len(devices := {each.device for each in sides.values()}) > 1:
            raise RuntimeError(
                f"one side computes on {' and the other on '.join(sorted(devices))}: see the builds of torch"
            )
        for each in sides.values():
            each.ask(protocol, 8)  # the first pass sets things up
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, each in sides.items():
                found[name].append(each.ask(protocol, len(questions)))
    if not on_gpu():
        peaks |= {f"peak_rss_mb_{name}": round(each[0]["peak_rss_mb"]) for name, each in found.items()}
    rows = compared(protocol, questions, found["ours"][-1], found["peer"][-1])
    return rows, summary(rows, found) | peaks


def written_into(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """The table with these rows; others, by `KEY`, stay."""
    from helpers.paths import atomic_write

    opened = gzip.open if file.suffix == ".gz" else open
    new = {tuple(row[name] for name in KEY) for row in rows}
    kept: list[dict[str, Any]] = []
    if file.is_file():
        with opened(file, "rt", encoding="utf-8", newline="") as lines:
            kept = [row for row in csv.DictReader(lines) if tuple(map(row.get, KEY)) not in new]
    columns = dict.fromkeys([*rows[0], *(kept[0] if kept else ())])  # memory is missing in rows of a GPU
    with atomic_write(file) as temporary, opened(temporary, "wt", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *rows])


def main() -> None:
    """Everything, and the two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--peer", type=Path, default=ROOT / "runs" / "peer", help="where the peer's environment is made"
    )
    parser.add_argument("--questions", type=int, default=646)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=TINY, help="these, or paths of models of true size")
    parser.add_argument("--kinds", nargs="+", default=[*KINDS][:2], choices=[*KINDS])
    parser.add_argument("--weights", nargs="+", default=WEIGHTS, choices=WEIGHTS)
    parser.add_argument("--protocols", nargs="+", default=PROTOCOLS, choices=PROTOCOLS)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks", help="where the two tables are")
    given = parser.parse_args()

    from helpers.paths import DATA
    from helpers.schemas import read_questions

    given.output.mkdir(parents=True, exist_ok=True)
    python = peer_python(given.peer)
    versions = " ".join(f"{name} {version(name)}" for name in ("torch", "transformers"))
    import torch

    about = {
        "processor": torch.cuda.get_device_name() if on_gpu() else _processor(),
        "versions": f"{versions} lm-eval 0.4.13",
        "date": datetime.now(UTC).date().isoformat(),
    }
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            tasks = exported(given.questions, folder, kind)
            questions = read_questions(folder / "questions.jsonl")
            for model in given.models:
                path = Path(model).resolve()
                if model in TINY:
                    path = with_images_of(KINDS[kind][0], DATA / "models" / model, folder)
                add_likelihood_task(tasks, path, folder)
                load = [str(given.batch), given.dtype]
                for weights in given.weights:
                    adapter = [write_adapter(path, folder / "adapter" / path.name)] if weights == "tuned" else []
                    commands: dict[str, list[str | Path]] = {
                        "ours": [sys.executable, __file__, "--ours", path, folder, *load, *adapter],
                        "peer": [python, WORKER, path, tasks, *load, *adapter],
                    }
                    for protocol in given.protocols:
                        if protocol == "option_likelihood" and kind != given.kinds[0]:
                            continue  # without pictures, it is the same again
                        rows, line = measured(commands, questions, protocol, given.rounds)
                        named = dict(zip(KEY, (path.name, weights, kind, protocol, *reversed(load)), strict=True))
                        written_into(given.output / AGREEMENT, [named | row for row in rows])
                        written_into(given.output / SUMMARY, [named | line | about])
                        print(json.dumps(named | line), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        ours(*sys.argv[2:])
    else:
        main()
