"""A notebook run by `python -m helpers.workflow.execute` on real kernels, and what its file tells beforehand."""

import io
import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from helpers import paths
from helpers.workflow import execute, failures, manifest, notebooks, preflight, progress, redact

REPORT_THREADS = "import os\nprint('seed', seed, 'threads', os.environ['OMP_NUM_THREADS'], 'in', os.getcwd())"


def write_notebook(path: Path, *cells: str, parameters: str | None = "seed: int = 0") -> Path:
    """A heading, a parameters cell (none for `None`) and the given code cells."""
    tagged = [] if parameters is None else [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# N"), *tagged, *map(v4.new_code_cell, cells)]), path)
    return path


def start(notebook: Path, output: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "helpers.workflow.execute", str(notebook), str(output), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=paths.ROOT)


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


def test_two_notebooks_at_once_keep_their_parameters_threads_and_outputs_apart(tmp_path):
    notebook = write_notebook(tmp_path / "count.ipynb", REPORT_THREADS)
    runs = [
        start(notebook, tmp_path / f"{seed}/out.ipynb", "-y", json.dumps({"seed": seed}), "--threads", str(seed))
        for seed in (3, 4)
    ]
    for seed, run in zip((3, 4), runs, strict=True):
        status, stdout, stderr = finish(run)
        assert (status, stderr) == (0, "")
        assert [line.split()[:2] for line in stdout.splitlines()] == [
            ["count", "started"],
            ["count", stdout.split()[3]],
        ]
        log = (tmp_path / f"{seed}/out.log").read_text()
        assert log == f"seed {seed} threads {seed} in {paths.ROOT}\n"
        assert sorted(file.name for file in (tmp_path / str(seed)).iterdir()) == [
            *("out.ipynb", "out.log", "out.manifest.json")
        ]


def test_notebooks_that_share_a_folder_at_the_same_time_list_their_own_files_alone(tmp_path):
    run = {"run_dir": str(tmp_path / "run")}
    made = {"05_ablation": "results/table2.csv", "07_paper": "results/table1.csv"}
    books = [write_notebook(tmp_path / f"{name}.ipynb", parameters="run_dir: str = ''") for name in made]
    records = [manifest.RunRecord(book, book.with_suffix(".out.ipynb"), run) for book in books]
    for name in [*made.values(), "results/by_hand.csv"]:
        (tmp_path / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / name).write_text("a")
    for record, file in zip(records, made.values(), strict=True):
        listed = {Path(name).name for name in json.loads(record.finish(0).read_text())["outputs"]}
        assert listed == {Path(file).name, "by_hand.csv"}


WRITE = """from pathlib import Path
Path(output_dir).mkdir()
Path(output_dir, "result.csv").write_text("a\\n1\\n")
Path(output_dir, "checkpoints").mkdir()
Path(output_dir, "checkpoints", "state").write_text("scratch")"""


def test_a_run_leaves_a_manifest_of_what_it_read_and_made(tmp_path):
    (tmp_path / "in.csv").write_text("abc")
    parameters = "seed: int = 3\nsource_path: str = ''\noutput_dir: str = ''\nmodel: str = 'src'"
    notebook = write_notebook(tmp_path / "n.ipynb", WRITE, parameters=parameters)
    given = {"source_path": str(tmp_path / "in.csv"), "output_dir": str(tmp_path / "made")}
    assert finish(start(notebook, tmp_path / "out.ipynb", "-y", json.dumps(given)))[0] == 0
    found = json.loads((tmp_path / "out.manifest.json").read_text())
    assert found == json.loads((tmp_path / "made/manifest.json").read_text())
    assert (found["exit"], found["error"], found["seeds"]) == (0, None, {"seed": 3})
    assert list(found["inputs"].values()) == ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]
    assert [Path(name).name for name in found["outputs"]] == ["result.csv"]
    assert [Path(name).name for name in found["executed"]] == ["out.ipynb"]
    assert len(found["code"]) == 1 and len(found["lock"]) == 64
    assert found["started"] <= found["ended"] and found["seconds"] > 0
    assert found["command"].startswith("python -m helpers.workflow.execute ") and found["parameters"]["model"] == "src"


def test_nothing_private_is_left_in_an_executed_copy_or_its_manifest(tmp_path, monkeypatch):
    planted = {"key": "sk-planted-4711", "home": str(Path.home() / "letters")}
    if (host := socket.gethostname()) in redact.machine_names():  # a name of two letters is in ordinary words
        planted["host"] = host
    monkeypatch.setenv("SOME_API_KEY", planted["key"])
    monkeypatch.setenv("SOME_COLOUR", "not-private-at-all")
    cells = [
        "import os, pathlib, socket, sys",
        "print(os.environ['SOME_API_KEY'], pathlib.Path.home() / 'letters', os.environ['SOME_COLOUR'])",
        "[socket.gethostname(), os.getcwd()]",
        "from IPython.display import HTML\nHTML('<b>' + os.environ['SOME_API_KEY'] + '</b>')",
        "raise ValueError(os.environ['SOME_API_KEY'] + str(pathlib.Path.home() / 'letters'))",
    ]
    notebook = write_notebook(tmp_path / "n.ipynb", *cells, parameters="word: str = ''\noutput_dir: str = ''")
    given = {"word": planted["key"], "output_dir": str(Path.home() / "nowhere")}
    assert finish(start(notebook, tmp_path / "out.ipynb", "-y", json.dumps(given)))[0] == 1
    for name in ("out.failed.ipynb", "out.failed.manifest.json"):
        text = (tmp_path / name).read_text()
        assert not [
            private for private in (*planted.values(), str(Path.home()) + "/", str(paths.ROOT)) if private in text
        ]
        assert "<SOME_API_KEY>" in text
    copy = (tmp_path / "out.failed.ipynb").read_text()
    assert "not-private-at-all" in copy and "~/letters" in copy
    nbformat.validate(nbformat.reads(copy, 4))


def test_neither_start_up_files_nor_a_long_temporary_folder_change_a_run(tmp_path, monkeypatch):
    """IPython runs both kinds of file in every kernel; a socket's path may have 103 bytes."""
    startup = tmp_path / "home" / ".ipython" / "profile_default" / "startup" / "mine.py"
    long = tmp_path / ("t" * 90)
    for folder in (startup.parent, long):
        folder.mkdir(parents=True)
    startup.write_text("planted = 1")
    (tmp_path / "mine.py").write_text("planted = 2")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "mine.py"))
    monkeypatch.setenv("TMPDIR", str(long))
    notebook = write_notebook(tmp_path / "a.ipynb", "assert 'planted' not in globals()")
    status, _, error = finish(start(notebook, tmp_path / "out.ipynb"))
    assert (status, error) == (0, "")


def test_a_failing_cell_is_named_and_the_partial_copy_kept(tmp_path):
    notebook = write_notebook(tmp_path / "bad.ipynb", "print('begun')", "wings = 4\nwings / 0", "print('never')")
    status, _, stderr = finish(start(notebook, tmp_path / "out.ipynb", "-y", "seed: 1"))
    assert status == 1
    assert f"FAILED {notebook}, cell 4 (wings = 4): ZeroDivisionError: division by zero; log: " in stderr
    assert not (tmp_path / "out.ipynb").exists()
    assert "begun" in (tmp_path / "out.failed.ipynb").read_text()
    assert "wings / 0" in (tmp_path / "out.log").read_text()
    failed = json.loads((tmp_path / "out.failed.manifest.json").read_text())
    assert (failed["exit"], failed["outputs"]) == (1, {})
    assert "ZeroDivisionError" in failed["error"]
    assert not (tmp_path / "out.manifest.json").exists()


@pytest.mark.parametrize(
    ("cell", "kind", "words"),
    [
        ("import os\nos.kill(os.getpid(), 9)", failures.DEAD, "cell 3 (import os): the kernel was killed (SIGKILL)"),
        ("import os\nos.abort()", failures.DEAD, "cell 3 (import os): the kernel died of SIGABRT"),
        ("bytes(2**62)", failures.MEMORY, "cell 3 (bytes(2**62)): MemoryError"),
    ],
)
def test_a_dead_kernel_too_little_memory_and_an_error_are_told_apart(tmp_path, cell, kind, words):
    status, _, stderr = finish(start(write_notebook(tmp_path / "dead.ipynb", cell), tmp_path / "out.ipynb"))
    assert status == 1
    assert words in stderr
    manifest = json.loads((tmp_path / "out.failed.manifest.json").read_text())
    assert manifest["failure"] == kind
    assert words in failures.failure_summary(tmp_path, 0)


def test_a_run_that_is_told_to_end_says_so(tmp_path):
    notebook = write_notebook(tmp_path / "n.ipynb", "print('begun', flush=True)\nwhile True: pass")
    process = start(notebook, tmp_path / "out.ipynb")
    log, end = tmp_path / "out.log", time.monotonic() + 60
    while not (log.exists() and "begun" in log.read_text()) and time.monotonic() < end:
        time.sleep(0.1)
    process.terminate()
    assert finish(process)[0] == 143  # 128 + SIGTERM, as a shell has it
    assert failures.failure_summary(tmp_path, 0).startswith(
        f"1 run failed:\n  {failures.STOPPED}  FAILED {notebook}, cell 3 "
    )


def test_an_undeclared_parameter_is_refused_before_anything_runs(tmp_path, capsys):
    notebook = write_notebook(tmp_path / "n.ipynb", "print(seed)", parameters="seed: int = 0\nmode: str = ''")
    assert execute.main([str(notebook), str(tmp_path / "out.ipynb"), "-y", '{"sed": 1}']) == 1
    message = capsys.readouterr().err
    assert "n.ipynb does not declare the parameter sed; it declares seed, mode." in message
    assert [file.name for file in tmp_path.iterdir()] == ["n.ipynb"]


def test_a_comment_with_an_equals_sign_hides_no_parameter(tmp_path):
    cell = "rate: float = 0.1  # try rate = 0.3\nsettings: dict = {\n    'a': 'b=c',\n}\nmode = 'x'"
    notebook = write_notebook(tmp_path / "n.ipynb", parameters=cell)
    assert notebooks.declared_parameters(notebook) == ["rate", "settings", "mode"]


def test_a_notebook_needs_its_parameters_cell(tmp_path):
    with pytest.raises(notebooks.NotebookError, match="has 0 cells tagged `parameters`; it needs exactly one"):
        notebooks.declared_parameters(write_notebook(tmp_path / "n.ipynb", "x = 1", parameters=None))


def test_a_missing_notebook_and_a_broken_one_are_told_apart(tmp_path):
    with pytest.raises(notebooks.NotebookError, match="there is no notebook"):
        notebooks.code_cells(tmp_path / "none.ipynb")
    (tmp_path / "broken.ipynb").write_text("{}")
    with pytest.raises(notebooks.NotebookError, match="is not a notebook"):
        notebooks.code_cells(tmp_path / "broken.ipynb")


def test_helper_files_follow_imports_and_packages_but_nothing_else(tmp_path):
    notebook = write_notebook(
        tmp_path / "n.ipynb", "import os\nfrom helpers.synthetic import drawing", "%matplotlib inline"
    )
    found = notebooks.helper_files([notebook])[str(notebook)]
    assert {
        "src/helpers/synthetic/drawing.py",
        "src/helpers/synthetic/appearances.py",
        "src/helpers/synthetic/__init__.py",
    } <= set(found)
    assert "src/helpers/workflow/execute.py" not in found
    assert all((paths.ROOT / file).is_file() for file in found)


def test_a_kernel_that_is_missing_or_of_another_python_is_refused(tmp_path, monkeypatch):
    with pytest.raises(preflight.PreflightError, match=r"no kernel 'nowhere'.*Make it: .* -m ipykernel install"):
        preflight.check_kernel("nowhere")
    spec = {"argv": ["/elsewhere/bin/python", "-m", "ipykernel_launcher"], "display_name": "x", "language": "python"}
    (tmp_path / "kernels/other").mkdir(parents=True)
    (tmp_path / "kernels/other/kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with pytest.raises(preflight.PreflightError, match="starts /elsewhere/bin/python, a different Python"):
        preflight.check_kernel("other")


def test_a_model_on_the_hub_is_not_looked_for_here_but_a_missing_folder_is():
    assert preflight.model_files("Qwen/Qwen2-VL-7B-Instruct") == []
    with pytest.raises(preflight.PreflightError, match="no model in data/models/nothing"):
        preflight.model_files("data/models/nothing")


def test_a_disk_without_room_is_refused(tmp_path):
    preflight.check_room(tmp_path / "not/yet/there", needed_gb=0)
    with pytest.raises(preflight.PreflightError, match=r"GB free, this profile asks for 1e\+09 GB"):
        preflight.check_room(tmp_path, needed_gb=1e9)


def test_progress_reaches_the_terminal_now_and_then_with_a_bar(monkeypatch):
    file, terminal = io.StringIO(), io.StringIO()
    log = execute.Log(file, terminal, "03")
    log.write("progress: step 1/4\n")
    monkeypatch.setattr(execute, "PROGRESS_SECONDS", 0)
    log.write("loss 1\nprogress: step ")
    log.write("2/4\n")
    assert terminal.getvalue() == "03 [##########----------] step 2/4\n"
    assert file.getvalue() == "progress: step 1/4\nloss 1\nprogress: step 2/4\n"


def test_a_message_without_counts_has_no_bar():
    assert [execute.with_bar(message) for message in ("loading", "0/0 texts")] == ["loading", "0/0 texts"]


def test_a_run_that_ended_before_its_first_cell_leaves_no_copy_and_says_so(tmp_path, capsys):
    none, kept = tmp_path / "out.running.ipynb", tmp_path / "out.failed.ipynb"
    execute._keep(none, kept)
    assert list(tmp_path.iterdir()) == []
    assert execute._reason(OSError("no space left"), kills=0) == (failures.CELL, "OSError: no space left")
    assert "OSError: no space left" in capsys.readouterr().err  # the traceback, which the run's log takes
    line = execute._line("OSError: no space left", Path("n.ipynb"), kept, tmp_path / "out.log")
    assert line.startswith("FAILED n.ipynb, before its first cell: OSError: no space left; log: ")


def test_parameters_that_are_no_mapping_are_refused_before_anything_runs(tmp_path, capsys):
    notebook = write_notebook(tmp_path / "n.ipynb", "print(seed)")
    assert execute.main([str(notebook), str(tmp_path / "out.ipynb"), "-y", "[1, 2]"]) == 1
    assert "--parameters must be a mapping of names to values, not '[1, 2]'" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["n.ipynb"]


def test_a_time_left_is_said_no_finer_than_it_is_known():
    said = {31.4: "31 s", 99.0: "99 s", 100.0: "2 min", 3599.0: "1 h 00 min", 7500.0: "2 h 05 min"}
    assert {seconds: progress.duration(seconds) for seconds in said} == said


def test_parameters_keep_their_types(tmp_path):
    small = 1e-05  # YAML would read JSON's 1e-05 as a word
    assert execute._read_parameters(json.dumps({"rate": small, "path": None})) == {"rate": small, "path": None}
    (tmp_path / "p.yaml").write_text("seed: 3\nmodes: [a, b]\n")
    assert execute._read_parameters(str(tmp_path / "p.yaml")) == {"seed": 3, "modes": ["a", "b"]}
