"""The same commit, machine and seeds give the same files, and nothing private in any of them; another machine's
accuracies are compared by a tolerance."""

import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from helpers.paths import ROOT
from helpers.results.tables.files import write_csv
from helpers.workflow import compare_runs

sys.path.insert(0, str(Path(__file__).parent))
import recompute

SCRIPT = Path(__file__).with_name("small_run.py")
HOST, USER, KEY = "planted-host-name", "planteduser", "sk-planted-key-4711"


def small_run(folder, **environment):
    """Start the chain at smoke size in a process of its own."""
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    silent = {"MPLBACKEND": "Agg", "PYTHONHASHSEED": "random", "HF_HUB_OFFLINE": "1"}
    planted = {"HOME": str(folder.parent / "planted-home"), "LOGNAME": USER, "USER": USER, "SOME_API_KEY": KEY}
    return subprocess.Popen(
        [sys.executable, SCRIPT, folder, HOST],
        env={**os.environ, **one_thread, **silent, **planted, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs of the same, and one that computes as another processor would: without AVX, in another order."""
    folders = {name: tmp_path_factory.mktemp("runs") / name for name in ("first", "again", "elsewhere")}
    other = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    started = [small_run(folder, **(other if name == "elsewhere" else {})) for name, folder in folders.items()]
    for process in started:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-3000:]
    return folders


@pytest.mark.slow
def test_the_same_run_again_has_the_same_bytes(runs):
    compared = compare_runs.files_of(runs["first"])
    kinds = {Path(name).suffix for name in compared}
    assert kinds == {".csv", ".jsonl", ".safetensors", ".png", ".pdf"}
    assert {"results/table1.csv", "results/table2.csv", "results/bootstrap.csv", "figures/accuracy.pdf"} <= set(
        compared
    )
    assert compare_runs.differing_files(runs["first"], runs["again"]) == []


@pytest.mark.slow
def test_every_number_of_a_run_follows_from_its_raw_rows(runs, capsys):
    differs = recompute.main(runs["first"], runs["first"] / "figures")
    assert not differs, capsys.readouterr().out


def legible(file):
    """A file's bytes and what is packed in them: a table's words, a PDF's streams, a picture's metadata."""
    content = file.read_bytes()
    if file.suffix == ".parquet":
        return content + pd.read_parquet(file).to_csv().encode()
    if file.suffix == ".png":
        with Image.open(file) as image:
            return content + repr(image.info).encode()
    if file.suffix == ".pdf":
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
        return content + b"".join(zlib.decompressobj().decompress(part) for part in streams if part[:1] == b"x")
    return content


@pytest.mark.slow
def test_nothing_private_is_in_anything_that_a_run_leaves(runs):
    folder = runs["first"]
    left = [file for file in folder.rglob("*") if file.is_file()]
    files = [file for file in left if "checkpoints" not in file.parts]  # scratch, which the workflow removes
    kinds = {file.suffix for file in files}
    assert {".html", ".json", ".jsonl", ".parquet", ".csv", ".png", ".pdf", ".safetensors", ".md"} <= kinds
    assert (folder / "report/index.html") in files
    private = [HOST, USER, KEY, "planted-home", str(ROOT) + "/"]
    found = {(str(file), word) for file in files for word in private if word.encode() in legible(file)}
    assert not found


@pytest.mark.slow
def test_another_processor_gives_the_same_texts_and_nearly_the_same_answers(runs):
    assert compare_runs.beyond(runs["first"], runs["elsewhere"], points=100.0) == []  # samples, questions: to the byte
    answers = [
        pd.concat(pd.read_json(file, lines=True) for file in sorted((runs[name] / "evaluation").rglob("answers.jsonl")))
        for name in ("first", "elsewhere")
    ]
    same = answers[0]["parsed"].to_numpy() == answers[1]["parsed"].to_numpy()
    assert same.mean() >= 0.9  # four steps of training leave little room to drift apart


@pytest.fixture
def pair(tmp_path):
    """Two small folders of results: a table of accuracies and one of costs."""
    table = pd.DataFrame([{"model": "m", "domain": "d", "mode": "text_only", "answering": "direct"}]).assign(
        type1=50.0, type2=40.0, overall=45.0
    )
    costs = pd.DataFrame({"mode": ["text_only"], "tokens": [7], "seconds": [1.0], "energy_wh": [0.1]})
    for name in ("one", "two"):
        write_csv(table, tmp_path / name / "results/table1.csv")
        write_csv(costs.assign(seconds=len(name) * (name == "two")), tmp_path / name / "results/resources.csv")
        (tmp_path / name / "datasets").mkdir()
        (tmp_path / name / "datasets/text_only.jsonl").write_text("{}\n")
    return tmp_path / "one", tmp_path / "two"


def test_costs_are_set_aside_and_nothing_else(pair, capsys):
    one, two = pair
    assert compare_runs.main([str(one), str(two)]) == 0
    assert "3 of 3 files are the same" in capsys.readouterr().out
    write_csv(pd.DataFrame({"mode": ["text_only"], "tokens": [8], "seconds": [1.0]}), two / "results/resources.csv")
    (two / "results/paired.csv").write_text("x\n")
    assert compare_runs.differing_files(one, two) == [
        "only in the second: results/paired.csv",
        "differs: results/resources.csv",
    ]
    assert compare_runs.main([str(one), str(two)]) == 1
    assert compare_runs.main([str(one / "datasets" / "none"), str(two / "none")]) == 2


def test_a_saving_keeps_its_causes_and_loses_its_costs(tmp_path):
    for name, seconds in (("one", 0.7), ("two", 0.8)):
        rows = pd.DataFrame({"cause": ["tokens", "seconds", "peak_memory_mb"], "share": [0.5, seconds, seconds]})
        write_csv(rows, tmp_path / name / "resources_saving.csv")
    assert compare_runs.differing_files(tmp_path / "one", tmp_path / "two") == []
    assert b"tokens,0.5" in compare_runs.content(tmp_path / "one/resources_saving.csv")


def test_another_machine_is_held_to_a_tolerance_and_to_the_same_texts(pair, capsys):
    one, two = pair
    write_csv(pd.read_csv(one / "results/table1.csv").assign(type1=52.0), two / "results/table1.csv")
    assert compare_runs.main([str(one), str(two), "--tolerance", "2"]) == 0
    assert compare_runs.main([str(one), str(two), "--tolerance", "1.9"]) == 1
    assert "table1: m, d, text_only, direct: type1 50.0 and 52.0" in capsys.readouterr().out
    (two / "datasets/text_only.jsonl").write_text("{ }\n")
    assert compare_runs.beyond(one, two, 2.0) == ["differs: datasets/text_only.jsonl"]


def test_a_table_without_a_column_is_compared_as_it_is(pair):
    one, two = pair
    for run in pair:
        write_csv(pd.DataFrame(), run / "results/empty.csv")
    assert compare_runs.differing_files(one, two) == []
    (two / "results/empty.csv").write_text("\n\n")
    assert compare_runs.differing_files(one, two) == ["differs: results/empty.csv"]


def test_on_another_machine_no_row_and_no_accuracy_may_be_missing(pair):
    one, two = pair
    table = pd.read_csv(one / "results/table1.csv")
    write_csv(pd.concat([table.assign(type2=float("nan")), table.assign(mode="base")]), two / "results/table1.csv")
    assert compare_runs.beyond(one, two, 100.0) == [
        "table1: only in one of the two: m, d, base, direct",
        "table1: m, d, text_only, direct: type2 40.0 and nan",
    ]
    write_csv(table.assign(type2=float("nan")), one / "results/table1.csv")
    write_csv(table.assign(type2=float("nan")), two / "results/table1.csv")
    assert compare_runs.beyond(one, two, 0.0) == []


def test_answers_are_compared_one_by_one_whatever_file_they_stand_in(tmp_path):
    names = dict(model="m", domain="d", mode="base", variant="main", seed=0, answering="direct", protocol="p")
    said = dict(options=["a", "b"], parsed=0, reply=None, description=None, named=None, scores=[-1.0, -2.0])
    shown, withheld = ({**names, "question_id": "q", "image": image, **said} for image in ("with", "without"))

    def write(run, **files):
        for name, rows in files.items():
            file = tmp_path / run / name / "answers.jsonl"
            file.parent.mkdir(parents=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / run

    apart = write("apart", evaluation=[shown], ablation=[withheld])
    together = write("together", evaluation=[shown, withheld | {"scores": [-1.00005, -2.0]}])
    assert compare_runs.differing_answers(apart, together) == (2, [])
    other = write("other", evaluation=[shown | {"parsed": 1, "scores": [-1.0, -1.5]}])
    count, lines = compare_runs.differing_answers(apart, other)
    assert count == 1
    assert [line.rpartition(": ")[2] for line in lines if "/q: " in line] == ["parsed differs", "scores differ by 0.5"]
    assert any(line.startswith("only in the first") for line in lines)
