"""The second computation of the published numbers: it owes the package nothing, agrees with it, and sees a change."""

import ast
import json
import random
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from helpers.paths import ROOT
from helpers.results.claims import CLAIMS, claims_table
from helpers.results.figures.resources_detail import saving_table
from helpers.results.figures.style import BASELINES, LABELS
from helpers.results.findings import RULES
from helpers.results.rules import contrast_table
from helpers.results.stats import difference_table
from helpers.results.tables import (
    answering_costs,
    break_even,
    grid_table,
    name_variants,
    read_answers,
    read_resources,
    read_retention,
    read_timings,
    renamed,
    resources_table,
    rounded,
    table1,
    table2,
    write_csv,
)
from helpers.schemas import NO_METER
from helpers.workflow.provenance import write_sidecar

sys.path.insert(0, str(Path(__file__).parent))
import recompute

CLASSES, CHANCE_OF_RIGHT = 12, {"base": 0.25, "text_only": 0.7, "image_text": 0.85, "prior": 0.5, "dictionary": 0.5}
EPOCHS = {"main": {}, "training.epochs=6": {"training.epochs": 6}}
NAMED = {"main": "epochs 12", "training.epochs=6": "epochs 6"}
RUNS = [("base", 0, "main"), ("text_only", 0, "main"), ("text_only", 1, "main"), ("image_text", 0, "main")]
RUNS += [("image_text", 1, "main"), ("text_only", 0, "training.epochs=6")]


def answer(kind, number, image, right, **run):
    """One answer about one of the classes; the option that was read has the highest score."""
    chosen = number % 4 if right else (number + 1) % 4
    row = {"model": "qwen2_vl", "domain": "butterfly", "variant": "main", "seed": 0, "image": image, **run}
    row |= {"question_id": f"{number}-type{kind}", "question_type": kind, "category": "name", "answer": number % 4}
    row |= {"image_path": f"{number}.png", "class_id": f"c{number % CLASSES}", "prompt_hash": "0", "named": None}
    row |= {"options": list("abcd"), "scores": [float(place == chosen) for place in range(4)], "description": None}
    return {"answering": "direct", **row, "reply": None, "parsed": chosen, "correct": right, "new_tokens": number}


def write_rows(file, rows):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def write_raw(run):
    """What notebooks 03, 04, 08 and 12 leave: two seeds of two trainings, a variant of half the epochs, a baseline."""
    for mode, seed, variant in RUNS:
        place = f"qwen2_vl/butterfly/{mode}/{variant}/seed{seed}"
        of_run = {"mode": mode, "seed": seed, "variant": variant, "protocol": "option_likelihood"}
        share = CHANCE_OF_RIGHT[mode] - 0.2 * (variant != "main")
        dice = random.Random(f"{mode} {seed} {variant}")
        asked = [(kind, number, image) for image in ("with", "without") for kind in (1, 2) for number in range(36)]
        asked += [(2, number, "named") for number in range(36)]
        rows = [answer(*one, dice.random() < (share if one[2] == "with" else 0.25), **of_run) for one in asked]
        spoken = {**of_run, "answering": "describe_then_answer"}
        rows += [answer(*one, dice.random() < share, **spoken) for one in asked if one[2] == "with"]
        old = [answer(1, number, "with", dice.random() < 0.9, **of_run) | {"class_id": None} for number in range(20)]
        write_rows(run / "evaluation" / place / "answers.jsonl", rows)
        kept = [row | {"category": "visual", "question_id": f"old-{row['question_id']}"} for row in old]
        write_rows(run / "evaluation" / place / "retention_answers.jsonl", kept if mode != "image_text" else [])
        spent = {"compute_of": "CPU", "questions": 72, "new_tokens": 0}
        ways = {"direct": 0.3, "describe_then_answer": 0.9}
        timings = {
            f"{way}/option_likelihood/{image}": {"seconds": 2 * cost, "compute_seconds": cost + dice.random(), **spent}
            for way, cost in ways.items()
            for image in ("with", "without")
        }
        write_rows(run / "evaluation" / place / "timings.json", [timings])
        adapter = None if mode == "base" else f"runs/elsewhere/training/{place}/adapter"
        of_adapter = {"parameters": {"adapter_dir": adapter}}
        (run / "evaluation" / place / "manifest.json").write_text(json.dumps(of_adapter), encoding="utf-8")
        if mode != "base":
            dear = mode == "image_text"
            costs = {
                "seconds": 10 + dice.random(),
                "compute_seconds": 9 + 9 * dear + dice.random(),
                "compute_of": "CPU",
            }
            costs |= {"peak_memory_mb": 700.0, "memory_above_model_mb": 50 + 9 * dice.random(), "samples": 9}
            costs |= {"energy_wh": None, "energy_estimate_wh": dice.random(), "energy_source": NO_METER}
            record = {"model": "qwen2_vl", "domain": "butterfly", **of_run, **costs, "tokens": 99}
            record |= {"vision_tower_calls": 3 * dear, "image_percent": 100.0 * dear, "steps": 30 + seed}
            record["different_samples"] = 200
            write_rows(run / "training" / place / "resources.json", [record])
    of_prior = {"model": "baseline", "mode": "prior", "protocol": "option_score"}
    dice = random.Random(0)
    rows = [answer(kind, number, "without", dice.random() < 0.5, **of_prior) for kind in (1, 2) for number in range(36)]
    of_words = {"mode": "dictionary", "protocol": "option_score"}
    rows += [answer(1, number, "with", dice.random() < 0.5, **of_words) for number in range(36)]
    write_rows(run / "baselines" / "butterfly" / "main" / "answers.jsonl", rows)
    grid = {"labels": NAMED, "variants": EPOCHS, "defaults": {"training.epochs": 12}, "x": "training.epochs"}
    parameters = {"parameters": {**grid, "images": ["with"], "baselines": ["dictionary"]}}
    write_rows(run / "grids" / "epochs" / "manifest.json", [parameters])


def publish(run, figures):
    """The package's own tables of these rows."""
    files = sorted(run.glob("evaluation/*/*/*/main/*/answers.jsonl"))
    beside, costs = [run / "baselines/butterfly/main/answers.jsonl"], sorted(run.rglob("resources.json"))
    answers, baselines, resources = read_answers(files), read_answers(beside), read_resources(costs)
    shown, withheld = answers[answers["image"] == "with"], answers[answers["image"] != "with"]
    timings = [file.with_name("timings.json") for file in files]
    asked = answering_costs(table1(shown), shown, read_timings(timings))
    remembered = read_retention(file.with_name("retention_answers.jsonl") for file in files)
    of_grid = sorted(run.glob("evaluation/*/*/text_only/*/seed0/answers.jsonl"))
    rows = pd.concat([read_answers(of_grid), baselines[baselines["mode"] == "dictionary"]], ignore_index=True)
    rows = rows[rows["image"] == "with"]
    named = name_variants(EPOCHS, {"training.epochs": 12}, "training.epochs", NAMED)
    old = read_retention(file.with_name("retention_answers.jsonl") for file in of_grid)
    rules = [rule for rule in RULES if rule.grid == "epochs"]
    found = contrast_table(rules, renamed(rows, named), renamed(old, named))
    trained = [file for file in costs if "text_only" in file.parts and "seed0" in file.parts]
    epochs = grid_table(rows, read_resources(trained, variant=None), old, named)
    for name, table, inputs in (
        ("table1", table1(shown, baselines=baselines), [*files, *beside]),
        ("table2", table2(shown, withheld), files),
        ("claims", rounded(claims_table(answers, baselines, remembered)), [*files, *beside]),
        ("figure2", resources_table(resources), costs),
        ("resources_saving", saving_table(resources), costs),
        ("answering", asked, [*files, *timings]),
        ("ablations/epochs", epochs, [*of_grid, *beside]),
        ("ablations/epochs_findings", rounded(found), [*of_grid, *beside]),
    ):
        write_csv(table, figures / f"{name}.csv")
        write_sidecar((figures / name).parent, Path(name).name, inputs)
    kept = rounded(difference_table(remembered, ["category", "model", "domain"], [("base", "text_only")]))
    kept = kept.rename(columns={"second": "mode", "accuracy_first": "before", "accuracy_second": "after"})
    for step, name, table, inputs in (
        ("resources", "break_even", break_even(resources, asked), [*files, *costs, *timings]),
        ("paper", "retention", kept.drop(columns=["question_type", "first"]), files),
    ):
        write_csv(table, run / "results" / f"{name}.csv")
        manifest = {"inputs": dict.fromkeys(map(str, inputs))}
        write_rows(run / "notebooks" / f"{step}.manifest.json", [manifest])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recompute")
    write_raw(folder / "run")
    (folder / "figures" / "ablations").mkdir(parents=True)
    publish(folder / "run", folder / "figures")
    return folder


@pytest.fixture
def published(original, tmp_path):
    """A run and its figures, to spoil."""
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy" / "run", tmp_path / "copy" / "figures"


def test_it_uses_no_code_of_the_package():
    tree = ast.walk(ast.parse(Path(recompute.__file__).read_text(encoding="utf-8")))
    imports = [node for node in tree if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {getattr(node, "module", None) or alias.name for node in imports for alias in node.names}
    assert {name.partition(".")[0] for name in names} <= {
        *sys.stdlib_module_names,
        "numpy",
        "pandas",
        "scipy",
        "statsmodels",
    }
    assert not {name.partition(".")[0] for name in names} & {"importlib", "subprocess", "runpy"}


def test_every_published_number_follows_from_the_raw_rows(original, capsys):
    assert recompute.main(original / "run", original / "figures") == 0
    *files, total, names = capsys.readouterr().out.splitlines()
    assert len(files) == 10
    assert all(line.endswith(": ok") for line in files)
    claims = len(pd.read_csv(original / "figures/claims.csv"))
    assert claims >= 5  # beside the untuned model, image + text, the prior, and chance
    of_grid, findings, kept = 8, 4, 2  # two ways of answering, of two types and of one; one old ability
    assert f"{2 * claims + of_grid + findings + kept} bootstrap bounds in 10 files; 0 files differ" in total
    assert "against" in names
    assert "type1" not in names


@pytest.mark.parametrize(
    ("file", "column", "change"),
    [
        ("table1", "type1", 0.1),
        ("table1", "type2_high", 0.1),
        ("table1", "n_type1", 1),
        ("table2", "overall_low", -0.1),
        ("claims", "difference", 0.1),
        ("claims", "high", 9),
        ("claims", "p_value", 0.01),
        ("claims", "p_holm", 0.01),
        ("figure2", "seconds", 0.01),
        ("figure2", "tokens", 1),
        ("figure2", "compute_seconds", 0.01),
        ("figure2", "memory_above_model_mb", 0.1),
        ("figure2", "energy_source", "measured"),
        ("figure2", "compute_of", "GPU"),
        ("resources_saving", "share", 0.0001),
        ("answering", "compute_seconds", 0.0001),
        ("answering", "seconds", 0.0001),
        ("answering", "tokens", 0.1),
        ("../run/results/break_even", "break_even", 0.1),
        ("../run/results/break_even", "seconds_share", 0.0001),
        ("../run/results/break_even", "questions", 1),
        ("../run/results/retention", "before", 0.1),
        ("../run/results/retention", "discordant", 0.1),
        ("ablations/epochs", "type1_difference_low", -9),
        ("ablations/epochs", "type2_detectable", 0.1),
        ("ablations/epochs", "type2_p_holm", -0.01),
        ("ablations/epochs", "train_seconds", 0.1),
        ("ablations/epochs", "train_steps", 1),
        ("ablations/epochs", "train_samples", 1),
        ("ablations/epochs", "train_image_percent", 0.1),
        ("ablations/epochs", "retention_visual_low", 0.1),
        ("ablations/epochs_findings", "against_accuracy", 0.1),
    ],
)
def test_a_number_that_the_rows_do_not_give_is_named(published, file, column, change):
    run, figures = published
    table = pd.read_csv(figures / f"{file}.csv")
    place = table[column].first_valid_index()
    said = table.loc[place, column]
    table.loc[place, column] = change if isinstance(change, str) else round(said + change, 6)
    write_csv(table, figures / f"{file}.csv")
    problems = recompute.check(figures / f"{file}.csv", run).problems
    assert problems
    assert all(f", {column}: " in problem or ", outcome: " in problem for problem in problems), problems


def test_an_outcome_that_its_numbers_do_not_give_is_named(published):
    run, figures = published
    table = pd.read_csv(figures / "claims.csv")
    table.loc[0, "outcome"] = {"yes": "no", "no": "yes", "open": "no"}[table.loc[0, "outcome"]]
    write_csv(table, figures / "claims.csv")
    [problem] = recompute.check(figures / "claims.csv", run).problems
    assert "its numbers give" in problem


ROWS_MATTER = ["table1", "table2", "claims", "figure2", "resources_saving", "answering", "ablations/epochs"]


@pytest.mark.parametrize("file", [*ROWS_MATTER, "../run/results/break_even", "../run/results/retention"])
def test_a_row_that_is_left_out_is_missed(published, file):
    run, figures = published
    table = pd.read_csv(figures / f"{file}.csv")
    kept = table[table["claim"] != table["claim"].iloc[0]] if file == "claims" else table.iloc[1:]
    write_csv(kept if file != "claims" else table.assign(model="baseline"), figures / f"{file}.csv")
    assert any("no row for" in problem for problem in recompute.check(figures / f"{file}.csv", run).problems)


def test_a_column_that_nothing_recomputes_is_a_difference(published):
    run, figures = published
    write_csv(pd.read_csv(figures / "table1.csv").assign(joy=1.0), figures / "table1.csv")
    assert recompute.check(figures / "table1.csv", run).problems == ["column 'joy' is not recomputed"]


def test_an_energy_that_no_meter_measured_is_a_difference(published):
    run, figures = published
    table = pd.read_csv(figures / "figure2.csv").assign(energy_wh=0.5)
    write_csv(table, figures / "figure2.csv")
    assert all(
        "energy_wh: 0.5, recomputed none" in said for said in recompute.check(figures / "figure2.csv", run).problems
    )


def test_the_baselines_that_a_grid_names_have_rows_in_its_table(published):
    run, figures = published
    table = pd.read_csv(figures / "ablations/epochs.csv")
    assert "dictionary" in set(table["mode"])
    write_csv(table[table["mode"] != "dictionary"], figures / "ablations/epochs.csv")
    [problem] = recompute.check(figures / "ablations/epochs.csv", run).problems
    assert "no row for" in problem and "'dictionary'" in problem


def test_it_knows_the_subject_of_every_rule_and_of_no_other():
    of_grids = {rule.claim for rule in RULES if "image" not in rule.subject}  # a grid of images has one variant
    assert set(recompute.SUBJECTS) == of_grids | {rule.claim for rule in CLAIMS if rule.category}


def test_it_means_by_the_words_of_a_rival_what_the_package_means():
    meant = {words: value for words, named in recompute.WORDS.items() for value in named.values()}
    assert meant == {LABELS[key]: key for key in meant.values()}
    assert set(BASELINES) <= set(meant.values())
    assert {"joint", "one_pass_chain", "describe_then_answer_image_kept", "named"} <= set(meant.values())


def test_words_that_it_does_not_know_are_a_difference(published):
    run, figures = published
    table = pd.read_csv(figures / "claims.csv")
    write_csv(table.replace({"against": {"untuned": "its better self"}}), figures / "claims.csv")
    assert "'its better self' is not in WORDS" in recompute.check(figures / "claims.csv", run).problems[0]


def test_a_table_made_from_files_that_the_run_does_not_have_is_a_difference(published):
    run, figures = published
    shutil.move(figures / "table2.json", figures / "table2.json.txt")
    assert recompute.check(figures / "table2.csv", run).problems == ["no table2.json says what it was made from"]
    record = {"inputs": {"runs/demo/evaluation/gone/answers.jsonl": "0"}}
    (figures / "table2.json").write_text(json.dumps(record), encoding="utf-8")
    assert "gone/answers.jsonl, which" in recompute.check(figures / "table2.csv", run).problems[0]


def test_an_answer_called_right_against_its_scores_is_found(published):
    run, figures = published
    file = run / "evaluation/qwen2_vl/butterfly/base/main/seed0/answers.jsonl"
    first, *rest = file.read_text(encoding="utf-8").splitlines()
    row = json.loads(first)
    other = (row["answer"] + (1 if row["correct"] else 0)) % 4
    write_rows(file, [row | {"parsed": other, "correct": not row["correct"]}, *map(json.loads, rest)])
    [problem] = recompute.check(figures / "table1.csv", run).problems
    assert "another has the highest score" in problem


def test_of_a_half_trained_class_the_choice_is_judged_among_the_names_that_training_did_not_mention():
    scores = [[4, 3, 2, 1], [1, 2, 3, 4], [1, 1, 1, 1]]
    rows = pd.DataFrame({"question_id": list("xyz"), "options": [list("abcd")] * 3, "scores": scores})
    rows = rows.assign(answer=[2, 2, 0], parsed=[0, 3, 0], correct=False)
    rest = recompute.by_names(rows, "among untrained", {"a", "b"})  # c and d are left; of z, the right one is not
    assert rest[["question_id", "correct", "chance"]].to_numpy().tolist() == [["x", True, 0.5], ["y", False, 0.5]]
    bias = recompute.by_names(rows, "trained chosen", {"a", "b"})
    assert bias[["correct", "chance"]].to_numpy().tolist() == [[True, 0.5], [False, 0.5], [True, 0.5]]
    assert recompute.by_names(rows, "trained chosen", set("abcd")).empty


def test_two_classes_right_and_wrong_may_lie_anywhere():
    values, names = pd.Series([1, 0]), pd.Series(["a", "b"])
    low, high = recompute.interval(values, names, pd.Series([0, 0]))
    assert (low.value, high.value) == (0, 1)  # a quarter of the resamples has one class alone


def test_twenty_of_a_hundred_classes_have_the_binomial_quantiles():
    values, names = pd.Series([1] * 20 + [0] * 80), pd.Series(range(100))
    low, high = recompute.interval(values, names, pd.Series([0] * 100))
    assert (low.value, high.value) == (pytest.approx(0.125, abs=0.01), pytest.approx(0.28, abs=0.01))
    assert low.least <= low.value <= low.most  # scipy: binom(100, 0.2).ppf([0.025, 0.975]) = 12, 28


@pytest.mark.slow
def test_every_number_of_the_demo_follows_from_its_raw_rows(capsys):
    if not (ROOT / "runs/demo/evaluation").is_dir():
        pytest.skip("runs/demo is not here: ./run_all.sh publish makes it")
    differs = recompute.main(ROOT / "runs/demo", ROOT / "figures/demo")
    assert not differs, capsys.readouterr().out
