"""config/hosted.py adds what is missing and touches nothing that is there, torch above all."""

import importlib.util
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from helpers.paths import ROOT

SPEC = importlib.util.spec_from_file_location("hosted", ROOT / "config/hosted.py")
hosted = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hosted)

REQUIREMENTS = """# models
torch==2.13.0  # tensors
peft==0.21.2
Py_YAML==6.0.3

# notebooks
jupyterlab==4.6.6

# checks
ruff==0.17.5
"""
PRESENT = {"torch": "2.8.0+cu126", "numpy": "2.0.2", "blinker": "1.4-odd~1"}


def test_the_needed_pins_are_those_of_the_notebooks_without_tools_and_checks():
    assert hosted.pins(REQUIREMENTS) == {"torch": "2.13.0", "peft": "0.21.2", "py-yaml": "6.0.3"}
    needed = hosted.pins((ROOT / "requirements.in").read_text(encoding="utf-8"))
    assert {"torch", "transformers", "peft", "papermill", "grimp"} <= needed.keys()
    assert needed.keys().isdisjoint(hosted.LEFT_OUT | {"pytest", "ruff", "mypy", "pre-commit"})


def test_whatever_is_installed_is_held_where_it_is_with_its_local_version():
    assert hosted.constraints(PRESENT) == ["numpy==2.0.2", "torch==2.8.0+cu126"]
    assert hosted.constraints(PRESENT, ["numpy"]) == ["torch==2.8.0+cu126"]


class Machine:
    """A machine with some packages; ``pip`` notes what it is asked, and fails as often as ``refusals`` says."""

    def __init__(self, monkeypatch, present, refusals=0, side_effect=None):
        self.present, self.refusals, self.asked, self.smoked = dict(present), refusals, [], []
        self.side_effect = side_effect or {}
        monkeypatch.setattr(hosted, "installed", lambda: dict(self.present))
        monkeypatch.setattr(hosted.subprocess, "run", self.run)
        monkeypatch.setattr(hosted.sys, "path", [*sys.path])
        monkeypatch.setenv("PYTHONPATH", "")
        monkeypatch.chdir(ROOT)

    def run(self, command, **_):
        if "pip" not in command:
            self.smoked.append(command[2:])
            return subprocess.CompletedProcess(command, 0)
        at = command.index("--constraint") + 1
        self.asked.append((Path(command[at]).read_text(encoding="utf-8").split(), command[at + 1 :]))
        if self.refusals:
            self.refusals -= 1
            return subprocess.CompletedProcess(command, 1, "", "ResolutionImpossible")
        self.present |= {name.partition("==")[0]: "1" for name in command[at + 1 :]} | self.side_effect
        return subprocess.CompletedProcess(command, 0, "", "")


def test_torch_is_a_constraint_and_never_asked_for(monkeypatch, capsys):
    machine = Machine(monkeypatch, PRESENT | {"pandas": "2.2.2"})
    hosted.main([])
    ((limits, asked),) = machine.asked
    assert limits == ["numpy==2.0.2", "pandas==2.2.2", "torch==2.8.0+cu126"]
    assert {name.partition("==")[0] for name in asked}.isdisjoint(machine.asked[0][0] + ["torch", "numpy", "pandas"])
    assert any(name.startswith("peft==") for name in asked)
    assert "torch 2.8.0+cu126, as it was" in capsys.readouterr().out


def test_it_ends_with_a_small_run_of_notebook_00(monkeypatch):
    machine = Machine(monkeypatch, PRESENT)
    hosted.main([])
    (command,) = machine.smoked
    assert command[0] == "helpers.workflow.execute"
    assert command[1] == "notebooks/00_start_here.ipynb"
    assert '"steps": 2' in command[-1]
    assert sys.path[0] == str(ROOT / "src")


def test_nothing_missing_asks_pip_for_nothing(monkeypatch):
    needed = hosted.pins((ROOT / "requirements.in").read_text(encoding="utf-8"))
    machine = Machine(monkeypatch, dict.fromkeys(needed, "0.1"))
    hosted.main([])
    assert machine.asked == []
    assert len(machine.smoked) == 1


def test_where_the_pins_do_not_fit_other_versions_are_taken_under_the_same_constraints(monkeypatch):
    machine = Machine(monkeypatch, PRESENT, refusals=1)
    hosted.main([])
    (first, pinned), (second, free) = machine.asked
    assert first == second
    assert [name.partition("==")[0] for name in pinned] == free
    with pytest.raises(SystemExit, match=r"could not add what is missing:\nResolutionImpossible"):
        Machine(monkeypatch, PRESENT, refusals=2) and hosted.main([])


def test_a_renewed_package_is_free_and_torch_cannot_be_renewed(monkeypatch):
    machine = Machine(monkeypatch, PRESENT | {"peft": "0.1"})
    hosted.main(["--renew", "PEFT"])
    limits, asked = machine.asked[0]
    assert "peft==0.1" not in limits
    assert any(name.startswith("peft==") for name in asked)
    with pytest.raises(SystemExit, match="never torch; not torch"):
        hosted.main(["--renew", "torch"])


def test_a_change_against_the_constraints_is_not_passed_over(monkeypatch):
    machine = Machine(monkeypatch, PRESENT, side_effect={"torch": "2.13.0"})
    with pytest.raises(SystemExit, match="pip has changed torch, against its constraints"):
        hosted.main([])
    assert machine.smoked == []


def test_a_machine_without_torch_is_sent_to_the_usual_set_up(monkeypatch):
    Machine(monkeypatch, {"numpy": "2.0.2"})
    with pytest.raises(SystemExit, match=r"no torch here: on a machine of your own, ./run_all.sh"):
        hosted.main([])


def wheel(folder, name, release, requires=""):
    """An empty package, as pip can install it."""
    info = f"{name}-{release}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{release}-py3-none-any.whl", "w") as archive:
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n{needs}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.parametrize(("wanted", "possible"), [("torch", False), ("torch>=1", True), ("torch>=99", False)])
def test_pip_itself_installs_no_other_torch_under_these_constraints(tmp_path, wanted, possible):
    """An index offers torch 99; a package that wants any torch is content with the one that is there."""
    wheel(tmp_path, "torch", "99.0")
    wheel(tmp_path, "wants_torch", "1.0", wanted if wanted != "torch" else "torch==99.0")
    limits = tmp_path / "constraints.txt"
    limits.write_text("\n".join(hosted.constraints({"torch": version("torch")})), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-cache-dir", "--isolated"]
    command += ["--find-links", str(tmp_path), "--constraint", str(limits), "wants_torch"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert (done.returncode == 0) is possible, done.stderr
    assert "torch-99" not in done.stdout.replace("wants_torch", "")
