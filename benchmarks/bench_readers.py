"""How long the data set readers take and how much memory they hold, on made-up data of the real sets' size.

    python benchmarks/bench_readers.py [--output benchmarks/readers.csv] [--folder FOLDER]

K-VISCUIT has 657 questions on 237 pictures, some 60 MB; both layouts are made at that size and at four times that size:
memory that grew with the number of pictures would show. Pictures are noise in JPEG of 0.05 to 16 million pixels, as
there. Butterflies: 100 classes in the Kaggle layout, and 400 questions in parquet. Each reader runs in a process of its
own; `peak_mb` is that process's highest resident memory, `start_mb` what it held before it began to read.
"""

import argparse
import io
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from helpers.paths import resolve
from helpers.results.tables import write_csv
from helpers.workflow.provenance import hardware, package_versions

IMAGES = 237  # of K-VISCUIT; it has 657 questions
TYPE_2 = 420
GROUP = 100  # rows a row group, as `datasets` writes them for pictures


def main() -> None:
    """Make the data, run each reader on it, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="benchmarks/readers.csv")
    parser.add_argument("--folder", help="where the data is made (1 GB); default: a temporary folder")
    parser.add_argument("--measure", nargs=3, metavar=("SOURCE", "PATH", "TARGET"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        rows = [row | in_own_process(row, Path(folder)) for row in data_sets(Path(folder))]
    table = pd.DataFrame(rows).drop(columns="path").assign(**circumstances())
    print(table.iloc[:, :9].to_string(index=False))
    write_csv(table, resolve(arguments.output))


def circumstances() -> dict[str, str | None]:
    """What a number depends on besides the code."""
    versions = package_versions(("pyarrow", "pillow", "pydantic"))
    return {"hardware": hardware(), "python": platform.python_version(), **versions, "date": f"{datetime.now(UTC):%F}"}


def in_own_process(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """`measure` in a fresh interpreter, whose peak of memory is then the reader's own."""
    target = str(folder / "out" / row["data"] / str(row["images"]))
    command = [sys.executable, __file__, "--measure", row["source"], str(row["path"]), target]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def measure(source: str, path: str, target: str) -> dict[str, Any]:
    """Seconds and memory of opening a domain (every picture looked into) and of bringing its pictures."""
    from helpers.domains import open_domain

    begin, start = peak_mb(), time.perf_counter()
    domain = open_domain("butterfly", source, path, None, 5, 224, 0)
    questions = domain.questions()
    read = time.perf_counter() - start
    domain.bring_images(Path(target))
    brought = time.perf_counter() - start - read
    return {
        "questions": len(questions),
        "read_s": round(read, 2),
        "bring_s": round(brought, 2),
        "start_mb": begin,
        "peak_mb": peak_mb(),
    }


def peak_mb() -> int:
    """The highest resident memory of this process so far; Linux counts it from the start of the program."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) // 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20  # bytes on macOS


def data_sets(folder: Path) -> Iterator[dict[str, Any]]:
    """Make the data sets one after the other: what each is called, how large it is and where it lies."""
    for times in (1, 4):
        original = kviscuit(folder / f"kviscuit{times}", IMAGES * times, TYPE_2 * times)
        for name, path in (("kviscuit folder", original), ("kviscuit parquet", as_parquet(original))):
            yield described(name, "kviscuit", path, IMAGES * times)
    yield described("butterfly folders", "butterflies", kaggle(folder / "kaggle"), 100 * 16)
    yield described("butterfly questions", "butterflies", authors(folder / "authors"), 200)


def described(name: str, source: str, path: Path, images: int) -> dict[str, Any]:
    """The first columns of a row."""
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return {"data": name, "source": source, "path": path, "images": images, "mb": round(size / 1e6)}


def kviscuit(folder: Path, images: int, type_2: int) -> Path:
    """The original layout: a Type-1 question a picture, and Type-2 questions dealt out over the pictures."""
    rng = random.Random(0)
    (folder / "images").mkdir(parents=True)
    for number in range(images):
        (folder / "images" / f"{number}.jpg").write_bytes(photo(rng, number))
    shown = [(1, number) for number in range(images)] + [(2, number % images) for number in range(type_2)]
    lines = (json.dumps(annotation(kind, number)) for kind, number in sorted(shown, key=lambda pair: pair[1]))
    (folder / "annotations.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def photo(rng: random.Random, number: int) -> bytes:
    """Blurred noise, a quarter of a megabyte on the average; every hundredth of 16 million pixels."""
    width, height = (4928, 3280) if number % 100 == 0 else (rng.randint(250, 1800), rng.randint(250, 1200))
    noise = Image.frombytes("RGB", (width // 4, height // 4), rng.randbytes(3 * (width // 4) * (height // 4)))
    stream = io.BytesIO()
    noise.resize((width, height), Image.Resampling.BILINEAR).save(stream, "JPEG", quality=75)
    return stream.getvalue()


def annotation(kind: int, number: int) -> dict[str, Any]:
    """A row of ``annotations.jsonl``."""
    return {
        "question": f"What is shown in picture {number}?",
        "options": [f"thing {number} {letter}" for letter in "abcd"],
        "answer": number % 4,
        "category": "Food",
        "id_": f"Food.{number}.{kind}",
        "question_type": kind,
        "image_url": "https://example.org",
        "image_path": f"{number}.jpg",
    }


def as_parquet(original: Path) -> Path:
    """The hub's layout of the same: every row holds its picture, a row group a hundred rows."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    lines = (original / "annotations.jsonl").read_text(encoding="utf-8").splitlines()
    folder = original.with_name(f"{original.name}-parquet")
    folder.mkdir()
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.Table.from_pylist([json.loads(lines[0])]).schema.append(pa.field("image", image))
    with ParquetWriter(folder / "test-00000-of-00001.parquet", schema) as writer:
        for start in range(0, len(lines), GROUP):
            rows = [json.loads(line) for line in lines[start : start + GROUP]]
            for row in rows:
                content = (original / "images" / row["image_path"]).read_bytes()
                row["image"] = {"bytes": content, "path": row["image_path"]}
            writer.write_table(pa.Table.from_pylist(rows, schema))
    return folder


def kaggle(folder: Path) -> Path:
    """100 classes: 6 pictures of 224 x 224 for training, 5 for valid, 5 for test; the real set has some 126."""
    from helpers.domains.drawn import load_classes

    rng = random.Random(1)
    for thing in load_classes("butterfly"):
        for split, count in (("train", 6), ("valid", 5), ("test", 5)):
            (folder / split / thing.name.upper()).mkdir(parents=True)
            for number in range(count):
                (folder / split / thing.name.upper() / f"{number}.jpg").write_bytes(small(rng))
    return folder


def small(rng: random.Random) -> bytes:
    """A picture of the Kaggle set's size."""
    stream = io.BytesIO()
    noise = Image.frombytes("RGB", (56, 56), rng.randbytes(3 * 56 * 56))
    noise.resize((224, 224), Image.Resampling.BILINEAR).save(stream, "JPEG")
    return stream.getvalue()


def authors(folder: Path) -> Path:
    """400 rows in the columns of the authors' set, two questions a picture."""
    import pyarrow as pa
    from pyarrow.parquet import write_table

    from helpers.domains.drawn import load_classes

    rng = random.Random(2)
    names = [thing.name.upper() for thing in load_classes("butterfly")]
    folder.mkdir()
    rows = []
    for number in range(200):
        image, label = {"bytes": small(rng), "path": None}, names[number % 100]
        others = rng.sample([name for name in names if name != label], k=3)
        for kind, options in (("1", [label, *others]), ("2", ["oaks", "nettles", "grasses", "hops"])):
            lettered = " ".join(f"{letter}) {option}" for letter, option in zip("ABCD", options, strict=True))
            fixed = {"question": "What is asked?", "options": lettered, "answer": "A", "question_type": kind}
            rows.append({"image": image, "label": label, **fixed})
    write_table(pa.Table.from_pylist(rows), folder / "train-00000-of-00001.parquet", row_group_size=GROUP)
    return folder


if __name__ == "__main__":
    main()
