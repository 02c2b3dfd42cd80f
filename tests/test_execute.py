"""One notebook run by `python -m helpers.execute`, on real kernels; and what a notebook's file tells beforehand."""

import io
import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from helpers import execute, notebooks, paths, preflight

REPORT_THREADS = "import os\nprint('seed', seed, 'threads', os.environ['OMP_NUM_THREADS'], 'in', os.getcwd())"


def write_notebook(path: Path, *cells: str, parameters: str | None = "seed: int = 0") -> Path:
    """A heading, a parameters cell (none for `None`) and the given code cells."""
    tagged = [] if parameters is None else [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    nbformat.write(v4.new_notebook(cells=[v4.new_markdown_cell("# N"), *tagged, *map(v4.new_code_cell, cells)]), path)
    return path


def start(notebook: Path, output: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "helpers.execute", str(notebook), str(output), *options]
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
        assert sorted(file.name for file in (tmp_path / str(seed)).iterdir()) == ["out.ipynb", "out.log"]


def test_a_failing_cell_is_named_and_the_partial_copy_kept(tmp_path):
    notebook = write_notebook(tmp_path / "bad.ipynb", "print('begun')", "wings = 4\nwings / 0", "print('never')")
    status, _, stderr = finish(start(notebook, tmp_path / "out.ipynb", "-y", "seed: 1"))
    assert status == 1
    assert f"FAILED {notebook}, cell 4 (wings = 4): ZeroDivisionError: division by zero; log: " in stderr
    assert not (tmp_path / "out.ipynb").exists()
    assert "begun" in (tmp_path / "out.failed.ipynb").read_text()
    assert "wings / 0" in (tmp_path / "out.log").read_text()


def test_a_dead_kernel_is_told_from_an_error(tmp_path):
    notebook = write_notebook(tmp_path / "dead.ipynb", "import os\nos.kill(os.getpid(), 9)")
    status, _, stderr = finish(start(notebook, tmp_path / "out.ipynb"))
    assert status == 1
    assert "cell 3 (import os): the kernel died without a Python error" in stderr


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
        tmp_path / "n.ipynb", "import os\nfrom helpers.world import drawing", "%matplotlib inline"
    )
    found = notebooks.helper_files([notebook])[str(notebook)]
    assert {"src/helpers/world/drawing.py", "src/helpers/world/looks.py", "src/helpers/world/__init__.py"} <= set(found)
    assert "src/helpers/execute.py" not in found
    assert all((paths.ROOT / file).is_file() for file in found)


def test_a_kernel_that_is_missing_or_of_another_python_is_refused(tmp_path, monkeypatch):
    with pytest.raises(preflight.PreflightError, match=r"no kernel 'nowhere'.*Make it: .* -m ipykernel install"):
        preflight.check_kernel("nowhere")
    spec = {"argv": ["/elsewhere/bin/python", "-m", "ipykernel_launcher"], "display_name": "x", "language": "python"}
    (tmp_path / "kernels/other").mkdir(parents=True)
    (tmp_path / "kernels/other/kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with pytest.raises(preflight.PreflightError, match="starts /elsewhere/bin/python, another Python"):
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


def test_parameters_keep_their_types(tmp_path):
    small = 1e-05  # YAML would read JSON's 1e-05 as a word
    assert execute._read_parameters(json.dumps({"rate": small, "path": None})) == {"rate": small, "path": None}
    (tmp_path / "p.yaml").write_text("seed: 3\nmodes: [a, b]\n")
    assert execute._read_parameters(str(tmp_path / "p.yaml")) == {"seed": 3, "modes": ["a", "b"]}
