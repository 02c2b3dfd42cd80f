"""How fast option likelihoods are computed, and whether memory grows with the number of questions.

    python benchmarks/bench_scoring.py                  every case, each a process of its own; minutes
    python benchmarks/bench_scoring.py "full passes" 160    one case, printed as JSON

| way | what |
|---|---|
| full passes | one pass of the whole model a question and option, picture included: the first version |
| trees | `helpers.evaluation.reader` |

Both answer the same drawn questions, two a picture, directly, with the demo's 4-bit Qwen2-VL on one thread. CPU seconds
are the process's own during the answering, and say more than wall seconds where others use the cores. Drawing, loading
and imports are not counted. Writes benchmarks/scoring.csv.
"""

import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
TABLE = ROOT / "benchmarks" / "scoring.csv"
CASES = (("full passes", 160), ("full passes", 646), ("trees", 160), ("trees", 646))
BATCH = 50  # of the demo


def drawn_questions(number: int, folder: Path, size: int = 56, each: int = 2) -> list[Any]:
    """``each`` questions (up to four) on each of ``number / each`` drawn butterflies, put into ``folder``."""
    from helpers.domains import drawn

    classes = drawn.load_classes("butterfly")
    images = -(-number // (each * len(classes)))
    drawn.save_images(classes, "test", images, folder, size, 0)
    asked = [
        question.model_copy(update={"question_id": f"{question.question_id}-{again}"})
        for again in range(-(-each // 2))  # a naming question and one on a fact each time
        for question in drawn.drawn_questions(classes, "test", images, again)
    ]
    by_image: dict[str, list[Any]] = {}
    for question in asked:
        by_image.setdefault(str(question.image), []).append(question)
    order = sorted(by_image, key=lambda image: image.rpartition("-")[2])
    return [question for image in order for question in by_image[image][:each]][:number]


def by_full_passes(model: Any, processor: Any) -> Callable[[Sequence[Any], Path], list[list[float]]]:
    """The first version: batches of (question, option), all logits."""
    import torch

    from helpers.images import open_image
    from helpers.models.batches import IGNORED, assistant, training_batch, user

    @torch.inference_mode()
    def answer(questions: Sequence[Any], folder: Path) -> list[list[float]]:
        images = [open_image(folder / q.image) for q in questions]
        pairs = [(q, p, s) for q, p in zip(questions, images, strict=True) for s in q.sentences()]
        scores: list[float] = []
        for start in range(0, len(pairs), BATCH):
            rows = pairs[start : start + BATCH]
            chats = [[user(q.question, True), assistant(s)] for q, _, s in rows]
            batch = training_batch(processor, chats, [p for _, p, _ in rows], 8192)
            labels = batch.pop("labels")[:, 1:]
            logs = model(**batch).logits[:, :-1].float().log_softmax(-1)
            each = logs.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
            scores.extend((each * (labels != IGNORED)).sum(1).tolist())
        return [scores[i : i + 4] for i in range(0, len(scores), 4)]

    return answer


def by_trees(model: Any, processor: Any) -> Callable[[Sequence[Any], Path], list[list[float]]]:
    """As it is now."""
    from helpers.evaluation.prompts import Prompt, Shown
    from helpers.evaluation.reader import Reader

    def answer(questions: Sequence[Any], folder: Path) -> list[list[float]]:
        reader = Reader(model, processor, BATCH, 64)
        prompts = [Prompt(q.question, Shown(folder / q.image)) for q in questions]
        found = reader.likelihoods(prompts, [q.sentences() for q in questions], "question")
        return [[option.total for option in four] for four in found]

    return answer


def measured(way: str, number: int) -> dict[str, Any]:
    """One case in this process."""
    import torch

    from helpers.models.loading import load_model, load_processor
    from helpers.paths import DATA

    torch.set_num_threads(1)
    path = DATA / "models" / "tiny-qwen2-vl"
    answer = (by_trees if way == "trees" else by_full_passes)(load_model(path)[0], load_processor(path))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        questions = drawn_questions(number, folder)
        answer(questions[:8], folder)  # the first pass sets things up
        wall, cpu = time.perf_counter(), time.process_time()
        scores = answer(questions, folder)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "way": way,
        "questions": len(questions),
        "cpu_seconds": round(cpu, 2),
        "wall_seconds": round(wall, 2),
        "questions_per_cpu_second": round(len(questions) / cpu, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "likeliest": [max(range(4), key=four.__getitem__) for four in scores],
    }


def main() -> None:
    """All cases, in processes of their own, and their table."""
    versions = " ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "bitsandbytes"))
    about = {"processor": _processor(), "versions": f"Python {platform.python_version()} {versions}"}
    rows, chosen = [], {}
    for way, number in CASES:
        command = [sys.executable, __file__, way, str(number)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        row = json.loads(output.splitlines()[-1])
        if chosen.setdefault(number, row["likeliest"]) != row.pop("likeliest"):
            raise RuntimeError(f"{way} with {number} questions chose other options than {CASES[0][0]}")
        rows.append({**row, **about, "date": datetime.now(UTC).date().isoformat()})
        print(rows[-1], flush=True)
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _processor() -> str:
    """Its name, where the system tells it."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text(encoding="utf-8").splitlines() if about.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measured(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
