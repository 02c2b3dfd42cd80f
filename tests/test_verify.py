"""A result that is no longer that of its inputs or code is named, with the reason; one that is, passes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import paths
from helpers.workflow import provenance, verify
from helpers.workflow.provenance import hashes, portable, write_json, write_sidecar

sys.path.insert(0, str(Path(__file__).parent))
import stub_tree


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
    return {finding.what: (finding.status, finding.reasons) for finding in verify.verify([folder]).findings}


def test_a_run_in_order_passes(run, capsys):
    assert found(run) == {"notebooks/07_paper.ipynb": ("ok", ()), "figure2": ("ok", ())}
    assert verify.main([str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 ok, 0 stale"


@pytest.mark.parametrize(
    ("file", "reason"),
    [("in.csv", "input changed"), ("code.py", "code changed"), ("note.ipynb", "executed copy changed")],
)
def test_a_change_is_named(run, capsys, file, reason):
    (run / file).write_text("another")
    assert verify.main([str(run), "--quiet"]) == 1
    said = capsys.readouterr().out
    assert f"{reason}: {portable(run / file)}" in said
    assert said.startswith("stale: notebooks/07_paper.ipynb (") and "\n1 ok, 1 stale\n" in said
    assert said.splitlines()[-1].startswith("To rebuild what is stale: ")


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
    monkeypatch.chdir(tmp_path)
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
    (run / "audit.json").write_text('{"samples": 3}')  # at the top, where no results lie
    (run / "broken.json").write_text("{")
    assert len(verify.verify([run]).findings) == 2


# ---- what can be relied on -------------------------------------------------------------------------------------------


def record(folder, name, inputs, outputs, **more):
    """The manifest of one notebook of a chain, and its executed copy."""
    copy = folder / f"notebooks/{name}.ipynb"
    copy.parent.mkdir(exist_ok=True)
    copy.write_text("{}")
    content = {"notebook": name, "executed": hashes([copy]), "inputs": hashes(inputs), "outputs": hashes(outputs)}
    write_json(copy.with_suffix(".manifest.json"), {**content, "code": {}, "ended": "2026", "exit": 0, **more})
    return copy


@pytest.fixture
def chain(tmp_path):
    """Training, evaluation and table of two models; each rests on the one before."""
    for model in ("a", "b"):
        for part, file in (("training", "adapter/weights.safetensors"), ("evaluation", "answers.jsonl")):
            path = tmp_path / part / model / file
            path.parent.mkdir(parents=True)
            path.write_text(f"{model} {part}")
        adapter, answers = tmp_path / f"training/{model}/adapter", tmp_path / f"evaluation/{model}/answers.jsonl"
        record(tmp_path, f"train_{model}", [], [adapter / "weights.safetensors"])
        record(tmp_path, f"ask_{model}", [adapter], [answers])
        table = tmp_path / f"results/{model}.csv"
        table.parent.mkdir(exist_ok=True)
        table.write_text(model)
        record(tmp_path, f"table_{model}", [answers], [table])
    return tmp_path


def test_a_table_is_in_doubt_where_anything_up_its_chain_is(chain):
    assert verify.verify([chain]).doubt(chain / "results/a.csv", chain / "results/b.csv") is None
    weights = chain / "training/a/adapter/weights.safetensors"
    weights.write_text("of a training by hand")
    record(
        chain, "ask_a", [weights.parent], [chain / "evaluation/a/answers.jsonl"]
    )  # asked again since: in order itself
    found = verify.verify([chain])
    assert [finding.what for finding in found.faults] == ["train_a"]
    assert found.doubt(chain / "results/a.csv") == verify.Doubt("stale", (f"result changed: {portable(weights)}",))
    assert found.doubt(chain / "results/b.csv") is None


def test_a_changed_result_says_nothing_of_the_others_of_its_run(chain):
    first, second = chain / "results/a.csv", chain / "results/a2.csv"
    second.write_text("2")
    record(chain, "table_a", [chain / "evaluation/a/answers.jsonl"], [first, second])
    second.write_text("by hand")
    found = verify.verify([chain])
    assert (found.doubt(first), found.doubt(second).status) == (None, "stale")


def test_of_a_figure_changed_code_alone_is_no_doubt_of_its_numbers(run):
    path = run / "figures/figure2.json"
    write_json(path, json.loads(path.read_text()) | {"code": {"src/helpers/paths.py": "0" * 64}})
    found_now = verify.verify([run / "figures"])
    assert found_now.faults and found_now.doubt(run / "figures/figure2.csv") is None


def test_results_without_a_manifest_within_a_workflows_run_are_unrecorded(chain, capsys):
    stray = chain / "evaluation/c/answers.jsonl"
    stray.parent.mkdir()
    stray.write_text("by hand")
    record(chain, "table_b", [chain / "evaluation/b/answers.jsonl", stray], [chain / "results/b.csv"])
    found_now = verify.verify([chain])
    assert [(fault.source, fault.status) for fault in found_now.faults] == [(portable(stray.parent), "unrecorded")]
    assert found_now.doubt(chain / "results/b.csv") == verify.Doubt("unrecorded", (f"no record of: {portable(stray)}",))
    assert verify.main([str(chain), "--quiet"]) == 1
    assert "Move what is unrecorded to a folder of its own" in capsys.readouterr().out


def test_a_run_without_any_manifest_is_one_by_hand(tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training/resources.json").write_text("{}")
    found_now = verify.verify([tmp_path])
    assert (found_now.by_hand, found_now.faults) == (True, [])


def test_the_executed_copies_of_what_is_stale_are_listed_those_outside_of_the_run_left_out(chain, capsys):
    (chain / "results/a.csv").write_text("by hand")
    record(chain, "table_b", [], [], executed={"elsewhere/copy.ipynb": "0"})
    assert verify.main([str(chain), "--stale"]) == 1
    assert capsys.readouterr().out == f"{portable(chain / 'notebooks/table_a.ipynb')}\n"


@pytest.mark.parametrize(
    ("folder", "main", "said"),
    [
        ("runs/demo", True, "`./run_all.sh demo -- --forcerun $(python -m helpers.workflow.verify runs/demo --stale)`"),
        ("runs/smoke", True, "`./run_all.sh demo --profile smoke -- --forcerun $("),
        ("runs/demo", False, "`, then `./run_all.sh ablations -- --forcerun $("),
        ("runs/demo", False, "`, then `./run_all.sh findings -- --forcerun $("),
        ("figures/demo", True, "`./run_all.sh publish -- --forcerun publish`"),
        ("runs/of_no_profile", True, "the command that made it"),
    ],
)
def test_the_remedy_names_the_command(folder, main, said):
    stale = verify.Finding("note.manifest.json", "notebooks/03_qlora_finetuning.ipynb", "stale", ("a",), main=main)
    (told,) = verify.remedy(verify.Verified([stale], by_hand=False), folder)
    assert said in told
    assert verify.remedy(verify.Verified([], by_hand=False), folder) == []


@pytest.mark.parametrize("word", ["ablations", "findings"])
def test_a_published_grid_is_made_by_the_word_of_its_collection(word):
    stale = verify.Finding(f"figures/demo/{word}/own_words.json", "own_words", "stale", ("a",))
    (told,) = verify.remedy(verify.Verified([stale], by_hand=False), "figures/demo")
    assert f": `./run_all.sh {word} -- --forcerun publish_grids`, with the same settings" in told


# ---- the quick way ---------------------------------------------------------------------------------------------------


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files whose bytes have been read."""
    read, whole = [], provenance.sha256

    def counting(path, of_file=None):
        read.extend([path.name] if path.is_file() else [])
        return whole(path, of_file)

    monkeypatch.setattr(provenance, "sha256", counting)
    return read


def test_nothing_is_hashed_twice_while_it_stays_as_it_is(chain, hashed, capsys):
    assert verify.main(["--quick", str(chain)]) == 0
    assert "weights.safetensors" in hashed
    hashed.clear()
    assert verify.main(["--quick", str(chain)]) == 0
    assert hashed == []
    assert capsys.readouterr().out == "6 ok, 0 stale\n" * 2


def test_an_older_file_in_place_of_a_newer_one_is_seen_whatever_date_it_bears(chain, hashed, capsys):
    table = chain / "results/a.csv"
    backup = chain / "backup"
    backup.write_text("b")  # as long as what it replaces
    verify.verify_quickly(chain)
    hashed.clear()
    before = table.stat()
    os.utime(backup, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.copy2(backup, table)  # as cp -p: size, date and inode are those of before
    after = table.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert verify.main(["--quick", str(chain)]) == 1
    assert hashed == ["a.csv"]
    fault, counts, told = capsys.readouterr().out.splitlines()
    manifest = portable(chain / "notebooks/table_a.manifest.json")
    assert fault == f"stale: table_a ({manifest}): result changed: {portable(table)}"
    assert counts == "5 ok, 1 stale" and told.startswith("To rebuild what is stale:")


def test_a_state_that_cannot_be_read_is_none(chain):
    (chain / verify.HASHES).write_text("{")
    assert verify.verify_quickly(chain).faults == []
    assert json.loads((chain / verify.HASHES).read_text())


def test_the_quick_way_is_for_one_run(capsys):
    with pytest.raises(SystemExit):
        verify.main(["--quick", "runs/demo", "runs/smoke"])
    assert "--quick takes one run's folder, not 2" in capsys.readouterr().err


@pytest.mark.slow
def test_what_the_workflow_takes_for_done_and_is_stale_is_made_again_by_the_remedy(tmp_path):
    """A restored backup is older than what was made from it. The workflow makes anew what depends on it, but not it."""
    tree = stub_tree.make_tree(tmp_path / "tree", imports=False)
    answers = tree / "runs/small/evaluation/qwen2_vl/butterfly/base/main/seed0/answers.jsonl"
    given = ("--config", "profile=small", "--cores", "2")
    assert stub_tree.snakemake(tree, *given)[0] == 0
    made, before = answers.read_text(), answers.stat()
    answers.write_text("by hand")
    os.utime(answers, ns=(before.st_atime_ns, before.st_mtime_ns - 10**9))
    planned = stub_tree.snakemake(tree, "--dry-run", *given)[1]
    assert {"ablation", "paper", "resources"} <= set(planned.split()) and "evaluation" not in planned.split()

    def verified(*options):
        command = [sys.executable, "-m", "helpers.workflow.verify", "runs/small", *options]
        environment = stub_tree.environment(PYTHONPATH=str(tree / "src"))
        return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)

    quick = verified("--quick")
    assert quick.returncode == 1 and f"result changed: {answers.relative_to(tree)}" in quick.stdout
    copies = verified("--stale").stdout.split()
    evaluated = "evaluation/qwen2_vl/butterfly/base/main/seed0"
    names = ("ablation", "baselines/butterfly/main", evaluated, "paper", "resources")  # it, and what was made from it
    assert copies == [f"runs/small/notebooks/{name}.ipynb" for name in names]
    assert stub_tree.snakemake(tree, "--forcerun", *copies, *given)[0] == 0
    assert answers.read_text() == made
    assert (verified("--quick").returncode, verified("--quick").stdout.count("\n")) == (0, 1)
