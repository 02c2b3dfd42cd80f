"""A finding follows its rule: hand-made tables of a grid, one relation each."""

import pandas as pd
import pytest

from helpers.paths import ROOT
from helpers.results.findings import RULES, Rule, findings
from helpers.results.findings import judged as judged_as_checked
from helpers.workflow.provenance import portable, write_sidecar
from helpers.workflow.verify import verify

COLUMNS = ["variant", "model", "domain", "mode", "image", "answering", "type1", "type1_low", "type1_high"]


def table(folder, *rows):
    """Rows of (variant, answering, type1, low, high)."""
    made = [[v, "qwen2_vl", "butterfly", "text_only", "with", a, *numbers] for v, a, *numbers in rows]
    (folder / "grids/g").mkdir(parents=True)
    pd.DataFrame(made, columns=COLUMNS).to_csv(folder / "grids/g/g.csv", index=False)


def judged(rule, folder):
    return judged_as_checked(rule, folder, verify([folder]))


@pytest.mark.parametrize(
    ("relation", "verdict"),
    [
        ("above", "does not hold"),
        ("not below", "holds"),
        ("level with", "holds"),
        ("not above", "holds"),
        ("below", "does not hold"),
    ],
)
def test_overlapping_intervals_are_level(tmp_path, relation, verdict):
    table(tmp_path, ("a", "direct", 60, 53, 67), ("b", "direct", 66, 59, 72))
    assert judged(Rule("", "g", {"variant": "a"}, relation, {"variant": "b"}), tmp_path).verdict == verdict


@pytest.mark.parametrize(
    ("relation", "verdict"),
    [("above", "does not hold"), ("not below", "does not hold"), ("level with", "does not hold"), ("below", "holds")],
)
def test_intervals_apart_are_not(tmp_path, relation, verdict):
    table(tmp_path, ("a", "direct", 40, 33, 47), ("b", "direct", 66, 59, 72))
    assert judged(Rule("", "g", {"variant": "a"}, relation, {"variant": "b"}), tmp_path).verdict == verdict


def test_chance_has_to_lie_in_every_interval(tmp_path):
    table(tmp_path, ("a", "direct", 26, 20, 33), ("a", "describe_then_answer", 40, 33, 47))
    finding = judged(Rule("", "g", {"variant": "a"}, "at chance"), tmp_path)
    assert finding.verdict == "holds in part"
    assert finding.evidence[0] == "asked directly: 26.0\xa0% [20.0,\xa033.0]"
    assert finding.file.endswith("grids/g/g.csv")


def test_rows_are_compared_within_their_way_of_asking_unless_the_rival_names_another(tmp_path):
    table(
        tmp_path,
        ("a", "direct", 40, 33, 47),
        ("a", "describe_then_answer", 90, 85, 94),
        ("b", "describe_then_answer", 60, 53, 67),
    )
    across = Rule("", "g", {"answering": "describe_then_answer"}, "above", {"answering": "direct", "variant": "a"})
    assert judged(across, tmp_path).verdict == "holds"  # of a and of b: 85 and 53 are above 47
    within = Rule("", "g", {"variant": "a"}, "above", {"variant": "b"})
    assert judged(within, tmp_path).evidence == (
        "describe, then answer: 90.0\xa0% [85.0,\xa094.0], compared with 60.0\xa0% [53.0,\xa067.0]",
    )


def test_without_a_table_nothing_is_said(tmp_path):
    assert {finding.verdict for finding in findings(tmp_path, verify([tmp_path]))} == {"not measured"}


def test_a_table_without_the_rows_of_a_rule_measures_nothing(tmp_path):
    table(tmp_path, ("a", "direct", 60, 53, 67))
    finding = judged(Rule("", "g", {"variant": "a"}, "above", {"variant": "b"}), tmp_path)
    assert (finding.verdict, finding.evidence) == ("not measured", ())


def test_every_rule_speaks_of_rows_that_its_published_grid_has():
    folder = ROOT / "figures/demo"
    there = {rule.claim for rule in RULES if (folder / f"ablations/{rule.grid}.csv").is_file()}
    silent = [f.claim for f in findings(folder, verify([])) if f.claim in there and f.verdict == "not measured"]
    assert silent == []


def test_a_table_that_is_no_longer_that_of_its_inputs_is_not_judged(tmp_path):
    table(tmp_path, ("a", "direct", 26, 20, 33))
    made_from = tmp_path / "answers.jsonl"
    made_from.write_text("1")
    write_sidecar(tmp_path / "grids/g", "g", [made_from])
    rule = Rule("", "g", {"variant": "a"}, "at chance")
    assert judged(rule, tmp_path).verdict == "holds"
    made_from.write_text("2")
    finding = judged(rule, tmp_path)
    assert finding.verdict == "not judged: stale"
    assert finding.evidence == (f"input changed: {portable(made_from)}",)  # why, and no number
