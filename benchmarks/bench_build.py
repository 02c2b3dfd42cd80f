"""What the data-set build costs at 10,000 and 100,000 texts, and what the audit costs at K-VISCUIT's size.

    python benchmarks/bench_build.py [--texts 10000 100000] [--output benchmarks/build.csv]

Each line is measured in a process of its own. `build` reads invented texts (a class each) from a file, writes two
samples per text. `audit` holds 657 invented questions on 237 invented photographs against the
samples of 237 texts with a training photograph each; `files_mb` is what lies in the folder, there nearly all JPEG.
Memory is the process's peak (resident set), its
libraries included; `grown_mb` is how much of it the work added. Rows are counted by the processor's time, which, unlike
`seconds`, hardly depends on what else the machine does (`machine_load_percent`).
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import psutil

from helpers.config.build import Build
from helpers.datasets.audit import audit
from helpers.datasets.build import build_samples
from helpers.results.tables import write_csv
from helpers.rows import RowFile
from helpers.schemas import ClassText, Question, write_samples, write_texts
from helpers.workflow.provenance import hardware, package_versions

QUESTIONS, IMAGES, SIDE = 657, 237, 1_100  # as K-VISCUIT has; the side gives JPEGs of about 250 kB
SETTINGS = Build(
    directions=["name_to_description", "description_to_name"],
    parts=["appearance", "background"],
    detail_share=0.8,
    shuffled=True,  # the most that a build does: the texts are read twice at once
    hybrid_share=0.5,
    described_share=1,
    limit_questions=None,
    seed=0,
)


def texts(number: int, image: str | None = None) -> Iterator[ClassText]:
    """Invented texts, about as long as written ones."""
    for i in range(number):
        appearance = " ".join(f"Part {part} of it has colour {(i * 7 + part) % 1000}." for part in range(12))
        background = " ".join(f"It was known to people of place {(i + part) % 500}." for part in range(8))
        yield ClassText(
            class_id=f"class_{i:06}",
            name=f"Name {i:06}",
            domain="invented",
            appearance=appearance,
            background=background,
            wording=0,
            writer="invented",
            image=image and image.format(i),
        )


def build(folder: Path, number: int) -> tuple[int, Callable[[], object]]:
    """The rows, and the work to be measured."""
    file = RowFile(write_texts(folder / "texts.jsonl", texts(number)), ClassText)

    def work() -> None:
        write_samples(folder / "text_only.jsonl", build_samples(file, "text_only", SETTINGS), text_only=True)

    return 2 * number, work


def audited(folder: Path, number: int) -> tuple[int, Callable[[], object]]:
    """The same for the audit of so many questions."""
    for i in range(IMAGES):
        photograph(folder / f"test{i}.jpg", i)
        photograph(folder / f"train{i}.jpg", IMAGES + i)
    write_texts(folder / "texts.jsonl", texts(IMAGES, "train{}.jpg"))
    file = RowFile(folder / "texts.jsonl", ClassText)
    questions = [question(i) for i in range(number)]
    return number, lambda: audit(questions, build_samples(file, "image_text", SETTINGS), folder, outside=True)


def photograph(path: Path, seed: int) -> None:
    """Clouds of colour with some grain, so that it is as large as a photograph and like no other."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    clouds = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
        (SIDE, SIDE), Image.Resampling.BICUBIC
    )
    grain = rng.normal(0, 6, (SIDE, SIDE, 1))
    Image.fromarray((np.asarray(clouds) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=80)


def question(i: int) -> Question:
    """With words of its own, so that none is compared only once for many."""
    return Question(
        domain="invented",
        question_id=f"q{i}",
        question_type=1 if i < IMAGES else 2,
        category="invented",
        class_id=f"class_{i % IMAGES:06}",
        question=f"What do people of place {i} do with part {i % 12} of the thing in this picture?",
        options=[f"They take colour {(i * 13 + n) % 1000} to place {n}" for n in range(4)],
        answer=i % 4,
        image=f"test{i % IMAGES}.jpg",
        split="test",
    )


def measure(what: str, number: int) -> dict[str, object]:
    """In a process of its own: what is left in memory by one measurement would count for the next."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--measure", what, str(number), folder]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measured(what: str, number: int, folder: Path) -> dict[str, object]:
    """Peak memory is Linux's VmHWM, which is set back before the work."""
    rows, work = {"build": build, "audit": audited}[what](folder, number)
    Path("/proc/self/clear_refs").write_text("5")
    before, begin, own = resident("VmRSS"), time.perf_counter(), time.process_time()
    work()
    seconds, own, peak = time.perf_counter() - begin, time.process_time() - own, resident("VmHWM")
    megabytes = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    return {
        "work": what,
        "rows": rows,
        "files_mb": round(megabytes, 1),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(own, 2),
        "rows_per_cpu_second": round(rows / own),
        "peak_mb": round(peak),
        "grown_mb": round(peak - before),
    }


def resident(name: str) -> float:
    """Megabytes of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main() -> None:
    """Print the measurements and write them to a CSV."""
    parser = argparse.ArgumentParser(description="Cost of the data-set build and of the audit (Linux)")
    parser.add_argument("--texts", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("build.csv"))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        what, number, folder = given.measure
        print(json.dumps(measured(what, int(number), Path(folder))))
        return
    rows = [measure("build", number) for number in given.texts] + [measure("audit", QUESTIONS)]
    versions = package_versions(["pydantic", "pyarrow", "rapidfuzz", "scikit-learn", "ImageHash", "pillow"])
    table = pd.DataFrame(rows).assign(
        machine_load_percent=psutil.cpu_percent(1.0),
        hardware=hardware(),
        python=platform.python_version(),
        packages=" ".join(f"{name}=={version}" for name, version in versions.items()),
        date=datetime.now(UTC).date().isoformat(),
    )
    print(table.iloc[:, :8].to_string(index=False))
    write_csv(table, given.output)


if __name__ == "__main__":
    main()
