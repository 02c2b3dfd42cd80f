"""A run as an archive: the same bytes each time, nothing private in it, and a change afterwards is found."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from helpers.paths import Layout
from helpers.workflow import pack as packing
from helpers.workflow.pack import check_pack, main

KEY = "correct-horse-battery-staple"
FOREIGN_KEY = "hf_" + "AbCdEfGhIj" * 4
NAMES = {"model": "m", "domain": "d", "mode": "text_only", "variant": "main", "seed": 0}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def run(tmp_path):
    """A run with rows, a table, a figure, their records, and everything that must stay here."""
    layout = Layout(tmp_path / "runs" / "mine")
    answers = layout.file("evaluation", "answers.jsonl", **NAMES)
    table, figure = layout.results / "table1.csv", layout.figures / "table1.png"
    written = {
        answers: b'{"reply": "A"}\n',
        table: b"model,overall\nm,50.0\n",
        figure: b"\x89PNG drawn",
        layout.file("training", "resources.json", **NAMES): b'{"seconds": 3}\n',
        layout.folder("training", **NAMES) / "adapter" / "adapter_model.safetensors": b"weights",
        layout.folder("dataset", domain="d", variant="main") / "images" / "a.png": b"\x89PNG a photograph",
        layout.folder("dataset", domain="d", variant="main") / "text_only.jsonl": b'{"text": "wings"}\n',
        layout.folder("dataset", domain="d", variant="main") / "README.md": b"---\nlicense: cc-by-4.0\n---\n",
        layout.run / "notebooks" / "paper.ipynb": b"{}",
        layout.run / "logs" / "paper.log": b"log",
        layout.run / ".hashes.json": b"{}",
    }
    outputs = {f"runs/mine/{file.relative_to(layout.run)}": sha256(written[file]) for file in (answers, table)}
    manifest = {"exit": 0, "ended": "2026-01-01", "outputs": outputs, "created": "2026-01-01"}
    written[layout.run / "notebooks" / "paper.manifest.json"] = json.dumps(manifest).encode()
    written[layout.figures / "table1.json"] = json.dumps(
        {"figure": "table1", "files": {"table1.png": sha256(written[figure])}}
    ).encode()
    for path, content in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return layout.run


def packed(run: Path) -> Path:
    assert main([str(run)]) == 0
    return run.parent / "mine.tar.gz"


def inside(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def rewrite(archive: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_rows_tables_figures_and_records_go_and_nothing_else(run):
    assert set(inside(packed(run))) == {
        "mine/SHA256SUMS",
        "mine/pack.json",
        "mine/datasets/d/main/README.md",
        "mine/datasets/d/main/text_only.jsonl",
        "mine/evaluation/m/d/text_only/main/seed0/answers.jsonl",
        "mine/figures/table1.json",
        "mine/figures/table1.png",
        "mine/notebooks/paper.manifest.json",
        "mine/results/table1.csv",
        "mine/training/m/d/text_only/main/seed0/resources.json",
    }


def test_the_same_run_packs_to_the_same_bytes(run):
    first = packed(run).read_bytes()
    for file in run.rglob("*"):
        file.touch()
    assert packed(run).read_bytes() == first
    with tarfile.open(run.parent / "mine.tar.gz") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname) for m in tar} == {(0, 0, 0, "")}


def test_the_list_is_one_that_sha256sum_reads(run, tmp_path):
    subprocess.run(["tar", "xzf", packed(run), "-C", tmp_path], check=True)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "mine", check=True)


def test_what_is_private_is_taken_out_and_said(run, monkeypatch, capsys):
    monkeypatch.setenv("MY_TOKEN", KEY)
    monkeypatch.setattr("getpass.getuser", lambda: "hopkinson")
    answers = Layout(run).file("evaluation", "answers.jsonl", **NAMES)
    said = f"{KEY} {FOREIGN_KEY} {Path.home()}/secret /home/somebody/data C:\\\\Users\\\\somebody\\\\x hopkinson"
    answers.write_text(f'{{"reply": "{said}"}}\n')
    (run / "figures" / "table1.pdf").write_bytes(f"%PDF /Author hopkinson {KEY}".encode())
    files = inside(packed(run))
    text = b"".join(files.values()).decode("utf-8", "replace")
    for private in (KEY, FOREIGN_KEY, f"{Path.home()}/", "somebody", "hopkinson"):
        assert private not in text
    reply = json.loads(files["mine/evaluation/m/d/text_only/main/seed0/answers.jsonl"])["reply"]
    assert reply.startswith("<MY_TOKEN> <key> ~/secret ~/data ~")
    assert "something private was taken out of 1 files, e.g. evaluation/" in capsys.readouterr().out
    about = json.loads(files["mine/pack.json"])
    assert about["left_out"] == {"figures/table1.pdf": "it names this machine or its user"}
    assert check_pack(run.parent / "mine.tar.gz")[1] == []  # its rows are no longer those recorded, as pack.json says


@pytest.mark.parametrize("card", [b"---\nlicense: unknown\n---\n", None])
def test_texts_and_questions_of_unknown_licence_stay_and_answers_to_them_go(run, card):
    folder = run / "datasets" / "d" / "main"
    (folder / "README.md").unlink() if card is None else (folder / "README.md").write_bytes(card)
    (run / "data" / "d" / "main").mkdir(parents=True)
    (run / "data" / "d" / "main" / "texts.jsonl").write_text("{}\n")
    files = inside(packed(run))
    assert not [name for name in files if name.startswith(("mine/datasets", "mine/data/"))]
    assert [name for name in files if name.endswith("answers.jsonl")]
    assert json.loads(files["mine/pack.json"])["left_out"] == dict.fromkeys(
        ["data/d", "datasets/d"], "the data's licence is unknown"
    )


def test_a_whole_archive_passes(run, capsys):
    assert main(["--check", str(packed(run))]) == 0
    # nine files and pack.json in the list; two results of the manifest, one file of the sidecar
    assert capsys.readouterr().out.endswith("12 hashes compared, 0 differences\n")


def test_a_changed_table_is_found_even_if_the_list_was_changed_with_it(run, capsys):
    archive = packed(run)
    files, table = inside(archive), "mine/results/table1.csv"
    old, files[table] = files[table], b"model,overall\nm,99.0\n"
    rewrite(archive, files)
    assert main(["--check", str(archive)]) == 1
    assert "changed: results/table1.csv" in capsys.readouterr().out
    sums = files["mine/SHA256SUMS"].decode().replace(sha256(old), sha256(files[table]))
    rewrite(archive, files | {"mine/SHA256SUMS": sums.encode()})
    assert main(["--check", str(archive)]) == 1
    assert "not what notebooks/paper.manifest.json recorded: results/table1.csv" in capsys.readouterr().out


def test_missing_and_added_files_are_found(run):
    archive = packed(run)
    files = inside(archive)
    del files["mine/results/table1.csv"]
    rewrite(archive, files | {"mine/results/table9.csv": b"x\n"})
    assert check_pack(archive)[1] == ["not in SHA256SUMS: results/table9.csv", "missing: results/table1.csv"]


@pytest.mark.parametrize("name", ["/etc/passwd", "mine/../../x", "alone"])
def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path, capsys, name):
    rewrite(tmp_path / "a.tar.gz", {name: b"x"})
    assert main(["--check", str(tmp_path / "a.tar.gz")]) == 2
    assert "is no plain file below one folder" in capsys.readouterr().err


def test_an_archive_that_unpacks_to_too_much_is_refused(run, monkeypatch):
    archive = packed(run)
    monkeypatch.setattr(packing, "LARGEST_PACK", 100)
    with pytest.raises(packing.PackError, match="too large to be checked"):
        check_pack(archive)


@pytest.mark.parametrize("content", [b"no archive", gzip.compress(b"no tar", mtime=0), None])
def test_a_file_that_is_no_such_archive_is_refused(tmp_path, capsys, content):
    file = tmp_path / "a.tar.gz"
    if content is not None:
        file.write_bytes(content)
    assert main(["--check", str(file)]) == 2
    assert capsys.readouterr().err.startswith("pack: ")


def test_damaged_records_are_refused(run):
    archive = packed(run)
    rewrite(archive, inside(archive) | {"mine/pack.json": b"{}"})
    with pytest.raises(packing.PackError, match="its records cannot be read"):
        check_pack(archive)


def test_a_run_without_results_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "none")]) == 2
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2
    said = capsys.readouterr().err
    assert "no run" in said
    assert "no rows and no tables; make the run first" in said
