"""A result that is no longer that of its inputs or code is named, with the reason; one that is, passes."""

import json

import pytest

from helpers import paths
from helpers.workflow import provenance, verify
from helpers.workflow.provenance import hashes, portable, write_json, write_sidecar


@pytest.fixture
def run(tmp_path):
    """A run folder with one notebook's manifest and one figure's sidecar, both in order."""
    for name, text in {"in.csv": "1", "results/table.csv": "2", "note.ipynb": "{}", "code.py": "3"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    write_json(tmp_path / "note.manifest.json", manifest_of(tmp_path))
    (tmp_path / "figures").mkdir()
    for kind in ("csv", "pdf", "png"):
        (tmp_path / f"figures/figure2.{kind}").write_text(kind)
    write_sidecar(tmp_path / "figures", "figure2", [tmp_path / "results/table.csv"])
    return tmp_path


def manifest_of(folder, ended="2026-01-01T00:00:00+00:00"):
    return {
        "notebook": "notebooks/07_paper.ipynb",
        "executed": hashes([folder / "note.ipynb"]),
        "inputs": hashes([folder / "in.csv"]),
        "outputs": hashes([folder / "results/table.csv"]),
        "code": hashes([folder / "code.py"]),
        "ended": ended,
        "exit": 0,
    }


def found(folder):
    return {finding.what: (finding.status, finding.reasons) for finding in verify.verify([folder])}


def test_a_run_in_order_passes(run, capsys):
    assert found(run) == {"notebooks/07_paper.ipynb": ("ok", ()), "figure2": ("ok", ())}
    assert verify.main([str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 ok, 0 stale, 0 not checkable"


@pytest.mark.parametrize(
    ("file", "reason"),
    [("in.csv", "input changed"), ("code.py", "code changed"), ("note.ipynb", "executed copy changed")],
)
def test_a_change_is_named(run, capsys, file, reason):
    (run / file).write_text("another")
    assert verify.main([str(run), "--quiet"]) == 1
    said = capsys.readouterr().out
    assert f"{reason}: {portable(run / file)}" in said
    assert said.startswith("stale: notebooks/07_paper.ipynb (") and said.endswith("1 ok, 1 stale, 0 not checkable\n")


def test_a_changed_table_makes_its_figure_stale_too(run):
    (run / "results/table.csv").write_text("another")
    state = found(run)
    assert state["notebooks/07_paper.ipynb"][1] == (f"result changed: {portable(run / 'results/table.csv')}",)
    assert state["figure2"] == ("stale", (f"input changed: {portable(run / 'results/table.csv')}",))


def test_a_deleted_figure_is_missing(run):
    (run / "figures/figure2.png").unlink()
    assert found(run)["figure2"] == ("stale", (f"file missing: {portable(run / 'figures/figure2.png')}",))


def test_changed_code_makes_a_figure_stale(run):
    path = run / "figures/figure2.json"
    content = json.loads(path.read_text())
    content["code"]["src/helpers/paths.py"] = "0" * 64
    write_json(path, content)
    assert found(run)["figure2"] == ("stale", ("code changed: src/helpers/paths.py",))


def test_of_two_runs_that_made_a_file_the_later_speaks_for_it(run):
    (run / "results/table.csv").write_text("made again")
    (run / "again.ipynb").write_text("{}")
    later = manifest_of(run, ended="2026-01-02T00:00:00+00:00") | {"notebook": "again"}
    write_json(run / "again.manifest.json", later)
    state = found(run)
    assert (state["again"][0], state["notebooks/07_paper.ipynb"][0]) == ("ok", "ok")


def test_a_failed_run_is_no_result(run):
    (run / "note.manifest.json").unlink()
    write_json(run / "note.failed.manifest.json", {**manifest_of(run), "exit": 1, "inputs": {"gone": "0"}})
    assert list(found(run)) == ["figure2"]


def test_inputs_of_a_run_that_is_not_in_the_clone_are_no_fault(run, capsys):
    path = run / "figures/figure2.json"
    content = json.loads(path.read_text()) | {"inputs": {"runs/of_another_clone/results/table.csv": "0" * 64}}
    write_json(path, content)
    status, reasons = found(run)["figure2"]
    assert status == "not checkable" and "not in this clone" in reasons[0]
    assert verify.main([str(run)]) == 0


def test_a_published_figure_of_more_seeds_than_were_run_here_is_not_checkable(tmp_path, monkeypatch):
    for module in (paths, provenance, verify):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    inputs = {"runs/demo/seed0.json": "0" * 64, "runs/demo/seed1.json": "0" * 64}
    for folder in ("figures/demo", "runs/demo/figures"):
        (tmp_path / folder).mkdir(parents=True)
        write_json(tmp_path / folder / "costs.json", {"figure": "costs", "files": {}, "code": {}, "inputs": inputs})
    (tmp_path / "runs/demo/seed0.json").write_text("what it cost here")
    status, reasons = found("figures/demo")["costs"]
    assert status == "not checkable" and "runs/demo/seed1.json" in reasons[0]
    status, reasons = found("runs/demo/figures")["costs"]  # of a figure made here each input counts
    assert status == "stale" and len(reasons) == 2


def test_nothing_to_check_is_said(tmp_path, capsys):
    assert verify.main([str(tmp_path)]) == 2
    assert "no manifest and no sidecar" in capsys.readouterr().err


def test_a_file_that_is_no_record_is_passed_over(run):
    (run / "audit.json").write_text('{"samples": 3}')
    (run / "broken.json").write_text("{")
    assert len(verify.verify([run])) == 2
