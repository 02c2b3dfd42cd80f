"""A finding follows its rule: answers made by hand, one relation each."""

import pandas as pd
import pytest

from helpers.paths import ROOT
from helpers.results.claims import claims_table
from helpers.results.findings import RULES, findings
from helpers.results.rules import WITHIN, Rule, contrast_table, decided, evidence, preferred_names, told, verdict_on
from helpers.results.stats import among_untrained
from helpers.results.tables.files import rounded, write_csv
from helpers.workflow.provenance import portable, write_sidecar
from helpers.workflow.verify import verify

WORDS = ("holds", "holds in part", "does not hold", "open")


def rows(right, n=200, start=0, **more):
    """``n`` answers, each about a class of its own; those from ``start`` on are right, ``right`` of them."""
    given = {"model": "m", "domain": "d", "mode": "text_only", "image": "with", "answering": "direct", "seed": 0}
    given |= {"question_type": 1, "variant": "a", **more}
    asked = [{"question_id": f"q{i}", "class_id": f"c{i}", "image_path": f"{i}.png"} for i in range(n)]
    return pd.DataFrame([given | one | {"correct": start <= i < start + right} for i, one in enumerate(asked)])


def judged(relation, right, rival_right, overlap):
    """``a`` against ``b``, which have ``overlap`` right answers in common."""
    table = pd.concat([rows(right), rows(rival_right, start=right - overlap, variant="b")])
    (row,) = decided(contrast_table([Rule("c", "g", {"variant": "a"}, relation, {"variant": "b"})], table)).to_dict(
        "records"
    )
    assert row["difference"] == pytest.approx((right - rival_right) / 2)
    return row["outcome"]


@pytest.mark.parametrize(
    ("relation", "outcome"),
    [("above", "yes"), ("not below", "yes"), ("level with", "no"), ("not above", "no"), ("below", "no")],
)
def test_of_a_large_difference_the_better_side_is_above(relation, outcome):
    assert judged(relation, 140, 80, 70) == outcome  # +30 points, the interval some 7 to either side


@pytest.mark.parametrize(
    ("relation", "outcome"),
    [("above", "no"), ("not below", "yes"), ("level with", "yes"), ("not above", "yes"), ("below", "no")],
)
def test_of_a_small_difference_both_sides_are_level_by_the_margin(relation, outcome):
    assert judged(relation, 102, 100, 98) == outcome  # +1 point, 6 of 200 questions differ


@pytest.mark.parametrize("relation", ["above", "level with", "not above"])
def test_what_the_questions_cannot_tell_is_open(relation):
    assert judged(relation, 112, 96, 66) == "open"  # +8 points, 76 of 200 differ: about -1 to +17


def test_that_two_intervals_overlap_decides_nothing():
    # 53 and 60 %: Wilson's intervals overlap, yet of the 14 questions that differ all speak for one side
    assert judged("above", 120, 106, 106) == "yes"


def test_chance_is_level_with_a_quarter():
    table = contrast_table([Rule("c", "g", {"variant": "a"}, "at chance")], rows(50))
    assert decided(table)["outcome"].tolist() == ["yes"]
    assert decided(contrast_table([Rule("c", "g", {"variant": "a"}, "at chance")], rows(100)))["outcome"].tolist() == [
        "no"
    ]
    assert evidence(decided(table))[0].startswith("25.0\xa0%, +0.0 [")


def test_p_values_are_corrected_over_the_whole_table():
    # Eight questions that only one side got right: p = 2 / 2^8 = 0.8 %; as one of seven such rules it is 5.5 %
    table = pd.concat([rows(100), rows(92, variant="b")])
    rules = [Rule(f"c{i}", "g", {"variant": "a"}, "above", {"variant": "b"}) for i in range(7)]
    assert decided(contrast_table(rules[:1], table))["outcome"].tolist() == ["yes"]
    several = decided(contrast_table(rules, table))
    assert several["p_holm"].tolist() == pytest.approx([7 * 2 / 2**8] * 7)
    assert set(several["outcome"]) == {"no"}  # and a gain below the margin


def test_sides_are_compared_within_their_way_of_asking_unless_the_rival_names_another():
    first = {"answering": "describe_then_answer"}
    table = pd.concat([rows(80), rows(180, **first), rows(120, variant="b", **first)])
    within = contrast_table([Rule("c", "g", {"variant": "a"}, "above", {"variant": "b"})], table)
    assert within[["answering", "accuracy", "against_accuracy"]].to_numpy().tolist() == [[*first.values(), 90, 60]]
    across = contrast_table(
        [Rule("c", "g", {"variant": "a", **first}, "above", {"variant": "a", "answering": "direct"})], table
    )
    assert across[["difference", "against"]].to_numpy().tolist() == [[50, "asked directly"]]


def test_other_questions_are_not_compared():
    table = pd.concat([rows(80), rows(80, n=100, variant="b")])
    assert contrast_table([Rule("c", "g", {"variant": "a"}, "above", {"variant": "b"})], table).empty


def test_an_old_ability_is_compared_on_its_own_answers():
    kept = pd.concat([rows(98, n=100, category="visual"), rows(97, n=100, mode="base", category="visual")])
    rule = Rule("c", "g", {"mode": "text_only"}, "not below", {"mode": "base"}, category="visual")
    assert decided(contrast_table([rule], rows(0), kept))["outcome"].tolist() == ["yes"]
    assert contrast_table([rule], rows(0)).empty


def of_rival(direct, described, kept, mode, variant="equal steps"):
    """Three ways to ask one mode, each with so many right answers of 200."""
    ways = {"direct": direct, "describe_then_answer": described, "describe_then_answer_image_kept": kept}
    return [rows(right, mode=mode, answering=way, variant=variant) for way, right in ways.items()]


def test_the_rival_of_text_alone_is_compared_in_the_same_way_of_asking():
    asked = [*of_rival(100, 180, 150, "text_only"), *of_rival(150, 90, 190, "image_text")]
    asked += [*of_rival(148, 178, 188, "joint"), *of_rival(170, 198, 198, "joint", "twice the steps")]
    rules = [rule for rule in RULES if rule.grid == "rival"]
    table = decided(contrast_table(rules, pd.concat(asked))).round(6)
    assert table[["mode", "answering", "against", "difference", "outcome"]].to_numpy().tolist() == [
        ["text_only", "direct", "joint", -24, "no"],  # 100 and 148 of 200
        ["text_only", "describe_then_answer", "joint", 1, "yes"],
        ["text_only", "describe_then_answer", "joint, twice the steps", -9, "open"],
        ["joint", "direct", "image + text", -1, "yes"],
        ["joint", "describe_then_answer", "image + text", 44, "yes"],
        ["image_text", "describe_then_answer_image_kept", "asked directly", 20, "yes"],
        ["text_only", "describe_then_answer_image_kept", "describe, then answer", -15, "yes"],
    ]


def test_what_was_forgotten_is_judged_in_every_cell_of_both_trainings_and_both_abilities():
    """Old names: all 100 known before; 99, 85 and 60 after. Visual questions: as many as before."""
    after = {"text_only": {"d": 99, "e": 85}, "image_text": {"d": 60, "e": 60}}
    kept = [
        rows(right if category == "old_class" else 97, n=100, mode=mode, domain=domain, category=category, model=model)
        for mode, of in ({"base": {"d": 100, "e": 100}} | after).items()
        for domain, right in of.items()
        for category in ("visual", "old_class")
        for model in ("m", "n")
    ]
    table = claims_table(rows(0, n=1), rows(0, n=1)[:0], pd.concat(kept))
    found = table[table["claim"].str.contains("knew before")]
    assert len(found) == 2 * 2 * 2 * 2 and not found.duplicated(["claim", "model", "domain"]).any()
    names = found[found["claim"].str.contains("names")].set_index(["mode", "domain", "model"])
    assert names["difference"].unstack().to_numpy().tolist() == [[-40, -40], [-40, -40], [-1, -1], [-15, -15]]
    assert names["outcome"].unstack()["m"].tolist() == ["no", "no", "yes", "open"]
    assert set(found.loc[~found["claim"].str.contains("names"), "outcome"]) == {"yes"}


@pytest.mark.parametrize(
    ("outcomes", "verdict"),
    [
        (["yes", "yes"], "holds"),
        (["yes", "no"], "holds in part"),
        (["no", "open"], "does not hold"),
        (["open"], "open"),
        ([], "not measured"),
    ],
)
def test_a_verdict_over_several_models(outcomes, verdict):
    assert verdict_on(outcomes, WORDS) == verdict


def publish(folder, right):
    """The contrasts of a grid as notebook 08 leaves them."""
    (folder / "ablations").mkdir(parents=True, exist_ok=True)
    rules = [rule for rule in RULES if rule.grid == "controls"][:1]
    write_csv(
        rounded(contrast_table(rules, rows(right, variant="shuffled"))), folder / "ablations/controls_findings.csv"
    )


def test_findings_are_those_of_the_tables_there_are(tmp_path):
    assert {finding.verdict for finding in findings(tmp_path, verify([tmp_path]))} == {"not measured"}
    publish(tmp_path, 52)
    found = findings(tmp_path, verify([tmp_path]))
    assert [found[0].verdict, *{finding.verdict for finding in found[1:]}] == ["holds", "not measured"]
    assert found[0].file.endswith("ablations/controls_findings.csv")


def test_every_rule_speaks_of_rows_that_its_published_grid_has():
    folder = ROOT / "figures/demo"
    there = {rule.claim for rule in RULES if (folder / f"ablations/{rule.grid}.csv").is_file()}
    silent = [f.claim for f in findings(folder, verify([])) if f.claim in there and f.verdict == "not measured"]
    assert silent == []


def test_a_table_that_is_no_longer_that_of_its_inputs_is_not_judged(tmp_path):
    publish(tmp_path, 52)
    made_from = tmp_path / "answers.jsonl"
    made_from.write_text("1")
    write_sidecar(tmp_path / "ablations", "controls_findings", [made_from])
    assert findings(tmp_path, verify([tmp_path]))[0].verdict == "holds"
    made_from.write_text("2")
    finding = findings(tmp_path, verify([tmp_path]))[0]
    assert finding.verdict == "not judged: stale"
    assert finding.evidence == (f"input changed: {portable(made_from)}",)  # why, and no number


# ---- names that training mentioned -----------------------------------------------------------------------------------

BIASED = Rule("no bias", "g", {"variant": "other"}, "not above", names="trained chosen", trained={"variant": "told"})
CARRIES = Rule("nothing carries over", "g", {"variant": "other"}, "not above", names="among untrained",
               trained={"variant": "told"}, contrary="something carries over")  # fmt: skip


def about(options, answer, scores, **more):
    """An answer by the highest score, with its options."""
    parsed = scores.index(max(scores))
    given = {"options": options, "answer": answer, "scores": scores, "parsed": parsed, "correct": parsed == answer}
    return rows(0, n=1).assign(**{name: [value] for name, value in (given | more).items()})


def asked_by_name(*others):
    """Training mentioned A and B; the other answers are about classes that it did not, one class each."""
    told = [about([name, "x", "y", "z"], 0, [4, 3, 2, 1], variant="told", question_id=name) for name in "AB"]
    ids = [{"variant": "other", "question_id": f"q{i}", "class_id": f"c{i}"} for i in range(len(others))]
    return pd.concat([*told, *(about(*one, **more) for one, more in zip(others, ids, strict=True))], ignore_index=True)


def test_with_the_trained_names_struck_out_chance_is_that_of_the_options_left():
    table = asked_by_name(
        (["A", "x", "y", "B"], 1, [9, 2, 1, 8]),  # chose A; of x and y it prefers x, which is right: chance 1/2
        (["x", "A", "y", "z"], 2, [1, 9, 2, 3]),  # of x, y and z it prefers z: chance 1/3
        (["A", "B", "C", "x"], 3, [1, 1, 9, 2]),  # of C and x it prefers C: chance 1/2
    )
    (row,) = contrast_table([CARRIES], table).to_dict("records")
    assert (row["n"], row["accuracy"]) == (3, pytest.approx(100 / 3))
    assert row["against_accuracy"] == pytest.approx(100 * (1 / 2 + 1 / 3 + 1 / 2) / 3)
    assert row["difference"] == pytest.approx(row["accuracy"] - row["against_accuracy"])


def test_where_only_the_right_name_is_untrained_or_no_score_is_known_there_is_no_choice():
    alone, silent = (["A", "B", "C", "x"], 3, [1, 2, 3, 9]), (["A", "x", "y", "z"], 1, [1, 9, 2, 3])
    other = asked_by_name(alone, silent).query("variant == 'other'")
    other = other.assign(scores=[other["scores"].iloc[0], None])
    assert among_untrained(other, {"A", "B", "C"}).empty


def test_a_bias_is_a_trained_name_chosen_more_often_than_it_is_offered():
    table = asked_by_name(
        (["A", "x", "y", "z"], 1, [9, 2, 1, 1]),  # one of four is trained, and chosen
        (["A", "B", "x", "y"], 2, [1, 1, 9, 2]),  # two of four, not chosen
        (["w", "x", "y", "z"], 2, [1, 1, 9, 2]),  # none: not counted
    )
    (row,) = contrast_table([BIASED], table).to_dict("records")
    assert (row["n"], row["accuracy"], row["against_accuracy"]) == (2, 50, 37.5)


def test_the_table_of_names_shows_shares_of_options_and_of_answers_side_by_side():
    table = asked_by_name((["A", "x", "y", "z"], 1, [9, 2, 1, 1]), (["A", "B", "x", "y"], 2, [9, 1, 3, 2]))
    (row,) = preferred_names([CARRIES], table).to_dict("records")
    assert (row["variant"], row["questions"], row["options_trained"], row["answers_trained"]) == ("other", 2, 37.5, 100)
    assert (row["untrained_questions"], row["untrained_accuracy"]) == (2, 100)
    assert row["untrained_chance"] == pytest.approx(100 * (1 / 3 + 1 / 2) / 2)
    assert preferred_names([Rule("c", "g", {}, "at chance")], table).empty


def test_the_words_of_a_finding_follow_its_verdict():
    def outcome(*outcomes):
        table = pd.DataFrame({"outcome": outcomes}).assign(
            against="chance", against_accuracy=40.0, accuracy=70.0, difference=30.0, low=20.0, high=40.0,
            **dict.fromkeys(WITHIN, "a"),
        )  # fmt: skip
        return told(CARRIES, table, WORDS)

    assert outcome("yes", "open")[:2] == ("nothing carries over", "holds in part")
    assert outcome("no", "no")[:2] == ("something carries over", "holds")
    assert outcome("no", "open")[:2] == ("something carries over", "holds in part")
    assert outcome("open")[:2] == ("nothing carries over", "open")
    said = "70.0\xa0%, +30.0 [+20.0,\xa0+40.0] compared with chance (40.0\xa0%); yes"
    assert outcome("no")[2] == (said,)  # yes: of the words as told
