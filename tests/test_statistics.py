"""Claims about accuracies and their uncertainty. All rows are made up here; expected values are computed by hand."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from helpers.results.stats import (
    accuracy_table,
    agreement_table,
    bootstrap_table,
    cluster_interval,
    cluster_intervals,
    confusion_table,
    detectable_paired,
    detectable_unpaired,
    difference_table,
    holm,
    leakage_table,
    look_alike_table,
    mcnemar_exact,
    paired_table,
    seed_table,
    unreadable_table,
    wilson,
)
from helpers.results.stats.agreement import kappa

BY = ["model", "mode"]


def rows(right: str, *, mode="text_only", seed=0, kind=1, unread="", **more):
    """One row a letter of `right`: "1" is a right answer, "0" a wrong one; `unread` marks replies by "x"."""
    return pd.DataFrame(
        {
            "model": "m",
            "mode": mode,
            "seed": seed,
            "question_type": kind,
            "question_id": [f"t{kind}-q{number}" for number in range(len(right))],
            "parsed": [None if mark == "x" else 0.0 for mark in unread.ljust(len(right))],
            "correct": [letter == "1" for letter in right],
            "image_path": [f"{number}.png" for number in range(len(right))],
            **more,
        }
    )


@pytest.mark.parametrize(("right", "n"), [(0, 7), (1, 1), (5, 10), (128, 200), (200, 200), (469, 657)])
def test_wilson_equals_scipy_for_whole_counts(right, n):
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right / n, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_5_in_10_is_the_textbook_interval():
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=5e-5)


def test_wilson_of_a_fractional_count_lies_between_those_of_its_neighbours():
    below, between, above = (wilson(count / 200, 200) for count in (128, 128.3, 129))
    assert below[0] < between[0] < above[0]
    assert below[1] < between[1] < above[1]


def test_wilson_never_leaves_0_to_1_and_is_undefined_without_questions():
    assert wilson(0, 3)[0] == 0
    assert wilson(1, 3)[1] == 1
    assert all(map(math.isnan, wilson(math.nan, 0)))
    low, high = wilson([0.5, math.nan], [10, 0])
    assert [low[0], high[0]] == pytest.approx(wilson(0.5, 10))
    assert math.isnan(low[1])


@pytest.mark.parametrize(("share", "n"), [(64.0, 200), (-0.1, 200), (0.5, -1)])
def test_wilson_refuses_percent_and_negative_numbers(share, n):
    with pytest.raises(ValueError, match="share is"):
        wilson(share, n)


def test_accuracy_is_in_percent_and_overall_counts_questions_not_types():
    table = accuracy_table(pd.concat([rows("1100"), rows("1111110000", kind=2)]), BY)
    found = table.iloc[0]
    assert list(table.columns[:5]) == ["model", "mode", "seeds", "n_type1", "n_type2"]
    assert (found["seeds"], found["n_type1"], found["n_type2"]) == (1, 4, 10)
    assert (found["type1"], found["type2"]) == (50, 60)
    assert found["overall"] == pytest.approx(100 * 8 / 14)  # the mean of the two types would be 55


def test_several_seeds_give_their_mean_with_the_interval_of_the_questions():
    found = accuracy_table(pd.concat([rows("1110000000"), rows("1111111000", seed=1)]), BY).iloc[0]
    assert (found["seeds"], found["n_type1"], found["type1"]) == (2, 10, 50)
    assert (found["type1_low"], found["type1_high"]) == pytest.approx((23.66, 76.34), abs=5e-3)  # n = 10, not 20


def test_a_type_that_was_not_asked_has_no_accuracy():
    found = accuracy_table(rows("10"), BY).iloc[0]
    assert found["n_type2"] == 0
    assert math.isnan(found["type2"])
    assert found["overall"] == 50


def test_groups_keep_to_themselves():
    table = accuracy_table(pd.concat([rows("11"), rows("00", mode="base")]), BY)
    assert dict(zip(table["mode"], table["type1"], strict=True)) == {"text_only": 100, "base": 0}


def test_a_question_that_one_seed_lacks_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"m/text_only: question 't1-q2' .* 1 times .* 0, 0 times under seed 1"):
        accuracy_table(pd.concat([rows("111"), rows("11", seed=1)]), BY)


def test_the_same_answers_named_twice_are_an_error():
    with pytest.raises(ValueError, match="2 times under seed 0"):
        accuracy_table(pd.concat([rows("1"), rows("1")]), BY)


def test_no_answers_are_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match="run the evaluation"):
        accuracy_table(rows("1").iloc[:0], BY)


def test_unreadable_replies_are_counted_by_type():
    found = unreadable_table(pd.concat([rows("1000", unread="  xx"), rows("01", kind=2)]), BY).iloc[0]
    assert (found["unreadable_type1"], found["unreadable_type2"]) == (50, 0)
    assert found["unreadable_overall"] == pytest.approx(100 * 2 / 6)


def series(right: str) -> pd.Series:
    return pd.Series([letter == "1" for letter in right], index=[f"q{number}" for number in range(len(right))])


def test_mcnemar_looks_only_at_questions_on_which_the_two_disagree():
    paired = mcnemar_exact(series("1110000011"), series("0001111111"))
    assert (paired.only_first, paired.only_second) == (3, 5)
    assert paired.p_value == pytest.approx(2 * (1 + 8 + 28 + 56) / 256)  # at most 3 heads of 8, two-sided


def test_mcnemar_of_one_sided_disagreement_is_two_halves_to_the_n():
    assert mcnemar_exact(series("000000"), series("111110")).p_value == pytest.approx(2 / 2**5)


def test_mcnemar_without_disagreement_finds_nothing():
    assert mcnemar_exact(series("0101"), series("0101")).p_value == 1


def test_mcnemar_matches_questions_by_name_not_by_place():
    first = series("1100")
    assert mcnemar_exact(first, first.iloc[::-1]).only_first == 0


def test_mcnemar_of_different_questions_is_an_error():
    with pytest.raises(ValueError, match="same questions"):
        mcnemar_exact(series("10"), series("101"))


def test_the_one_base_is_compared_with_every_seed():
    answers = pd.concat([rows("0000", mode="base"), rows("1110"), rows("1111", seed=1)])
    table = paired_table(answers, ["model"], [("base", "text_only")])
    assert table[["seed", "only_first", "only_second"]].to_numpy().tolist() == [[0, 0, 3], [1, 0, 4]]


def test_two_trained_modes_are_compared_seed_by_seed():
    answers = pd.concat([rows("10", seed=seed, mode=mode) for mode in ("image_text", "text_only") for seed in (0, 1)])
    assert paired_table(answers, ["model"], [("image_text", "text_only")])["seed"].tolist() == [0, 1]


def test_a_missing_mode_leaves_the_comparison_empty():
    table = paired_table(rows("10"), ["model"], [("image_text", "text_only")])
    assert table.empty
    assert "p_value" in table.columns


def test_rows_of_two_protocols_are_an_error_that_says_so():
    mixed = pd.concat([rows("10", protocol="letter"), rows("10", protocol="option_likelihood")])
    with pytest.raises(ValueError, match="mix several values of protocol: select one"):
        accuracy_table(mixed, BY)


def test_accuracy_by_category_is_that_of_its_own_questions():
    table = accuracy_table(rows("1101", category=["wing", "wing", "wing", "border"]), [*BY, "category"])
    assert table.set_index("category")["type1"].round(1).to_dict() == {"wing": 66.7, "border": 100}


def test_accuracy_by_class_has_each_classs_own_interval():
    found = accuracy_table(rows("11111000001", class_id=["a"] * 10 + ["b"]), [*BY, "class_id"]).set_index("class_id")
    assert found["type1"].to_dict() == {"a": 50, "b": 100}
    assert found.loc["a", ["type1_low", "type1_high"]].tolist() == pytest.approx([23.66, 76.34], abs=5e-3)
    z2 = 1.959964**2  # one right of one: z²/(1 + z²) is what misses from 1, by Wilson's formula at p = n = 1
    assert found.loc["b", ["type1_low", "type1_high"]].tolist() == pytest.approx([100 / (1 + z2), 100], abs=1e-3)


def test_the_spread_over_seeds_is_their_sample_standard_deviation():
    found = seed_table(pd.concat([rows("1110000000"), rows("1111111000", seed=1)]), BY).iloc[0]
    assert (found["seeds"], found["type1"], found["type1_min"], found["type1_max"]) == (2, 50, 30, 70)
    assert found["type1_sd"] == pytest.approx(math.sqrt(20**2 + 20**2))  # divided by 2 - 1
    assert math.isnan(seed_table(rows("10"), BY)["type1_sd"].iloc[0])


def test_two_pictures_right_and_wrong_give_every_share_from_0_to_1():
    # Of the four equally likely draws one has only the first picture, one only the second.
    assert cluster_interval([1, 1, 0, 0], ["a", "a", "b", "b"], method="percentile") == (0, 1)


def test_three_pictures_one_of_them_wrong_give_the_quantiles_counted_by_hand():
    # Of 27 equally likely draws 1 has no right picture, 6 have one, 12 two, 8 three: 3.7, 22, 44 and 30 %.
    drawn = ([1, 1, 1, 1, 0, 0], ["a", "a", "b", "b", "c", "c"])
    assert cluster_interval(*drawn, confidence=0.95, method="percentile") == (0, 1)  # 2.5 % lies within the first
    assert cluster_interval(*drawn, confidence=0.9, method="percentile") == pytest.approx((1 / 3, 1))  # 5 % does not


def test_of_independent_questions_the_bootstrap_agrees_with_the_normal_interval():
    half = 1.96 * math.sqrt(0.5 * 0.5 / 400)
    low, high = cluster_interval([0, 1] * 200, range(400))
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.006)


def test_questions_about_one_picture_count_as_one():
    # 40 pictures with 10 questions each, all right or all wrong: as uncertain as 40 questions
    values, images = np.repeat([0, 1] * 20, 10), np.repeat(range(40), 10)
    low, high = cluster_interval(values, images)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(0.25 / 40), abs=0.04)
    assert (low, high) == cluster_interval(values, images)  # the draws have a fixed seed


def test_a_larger_picture_weighs_more():
    assert cluster_interval([1, 1, 1], ["a", "b", "b"]) == (1, 1)
    low, high = cluster_interval([1, 1, 1, 0] * 30, np.repeat(range(30), 4))
    assert low == high == 0.75


def test_samples_that_are_drawn_together_get_the_intervals_that_each_gets_alone():
    # Thirds, as means over three seeds are: their sums must tie as exactly in a stack as alone
    draw = np.random.default_rng(4)
    means = draw.integers(0, 4, size=(6, 120)) / 3
    images, uneven = np.repeat(range(40), 3), np.repeat(range(15), 8)
    samples = [(row, images) for row in means[:4]] + [(means[4], uneven), (means[5], np.sqrt(range(120)) // 1)]
    samples += [([1, 1], ["a", "b"]), ([0, 1], ["a", "a"])]
    alone = [cluster_interval(*sample) for sample in samples]
    np.testing.assert_array_equal(cluster_intervals(samples), alone)
    assert len({*alone[:6]}) == 6 and alone[6] == (1, 1)


def test_one_picture_has_no_interval():
    assert all(map(math.isnan, cluster_interval([0, 1], ["a", "a"])))


def test_a_question_without_a_picture_is_drawn_by_itself():
    table = bootstrap_table(rows("1100", image_path=["a", "a", None, None]), BY)
    assert table["images_type1"].tolist() == [3]
    assert table["type1"].tolist() == [50]
    assert math.isnan(table["type2_low"].iloc[0])


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.02, 0.001, 0.9, 0.02]) == pytest.approx([0.06, 0.004, 0.9, 0.06])  # times 4, 3, 2 (kept at 0.06), 1
    assert holm([0.04, math.nan]) == pytest.approx([0.04, math.nan], nan_ok=True)
    assert holm([]).tolist() == []


def test_a_paired_table_is_one_family():
    answers = pd.concat([rows("000000", mode="base"), rows("111110"), rows("001110", mode="image_text")])
    table = paired_table(answers, ["model"], [("base", "text_only"), ("base", "image_text")])
    assert table["p_value"].tolist() == pytest.approx([2 / 2**5, 2 / 2**3])
    assert table["p_holm"].tolist() == pytest.approx([2 * 2 / 2**5, 2 / 2**3])


def test_a_difference_is_in_points_with_its_test_and_what_could_have_been_seen():
    answers = pd.concat([rows("0001", mode="base"), rows("1110")])
    found = difference_table(answers, ["model"], [("base", "text_only")]).iloc[0]
    assert found[["n", "accuracy_first", "accuracy_second", "difference", "discordant"]].tolist() == [
        4,
        25,
        75,
        50,
        100,
    ]
    assert found["p_value"] == pytest.approx(2 * (1 + 4) / 2**4)
    assert found["low"] <= 50 <= found["high"]
    assert found["detectable"] == pytest.approx(100 * detectable_paired(4, 1.0), nan_ok=True)


def test_of_two_seeds_the_p_value_is_twice_their_mean_at_most_1():
    answers = pd.concat([rows("0000", mode="base"), rows("1110"), rows("1111", seed=1)])
    found = difference_table(answers, ["model"], [("base", "text_only")]).iloc[0]
    assert found["p_value"] == pytest.approx(2 * (2 / 2**3 + 2 / 2**4) / 2)
    assert (found["seeds"], found["difference"]) == (2, 87.5)
    same = pd.concat([rows("01", mode="base"), rows("01"), rows("01", seed=1)])
    assert difference_table(same, ["model"], [("base", "text_only")])["p_value"].tolist() == [1]


def test_differences_of_variants_are_paired_by_variant():
    answers = pd.concat([rows("0000", variant="main"), rows("1110", variant="shuffled")])
    found = difference_table(answers, BY, [("main", "shuffled")], column="variant").iloc[0]
    assert (found["second"], found["difference"]) == ("shuffled", 75)


def test_other_questions_leave_a_difference_without_a_test():
    found = difference_table(pd.concat([rows("01", mode="base"), rows("011")]), ["model"], [("base", "text_only")])
    assert found["difference"].tolist() == pytest.approx([100 * 2 / 3 - 50])
    assert found[["low", "p_value", "p_holm"]].isna().all(axis=None)


def test_152_questions_each_can_show_25_against_40_percent():
    assert detectable_unpaired(152) == pytest.approx(0.15, abs=5e-4)  # Fleiss's sample size for these two, uncorrected
    assert math.isnan(detectable_unpaired(1))


def test_200_paired_questions_at_30_percent_discordance_can_show_10_8_points():
    found = detectable_paired(200, 0.3)
    assert found == pytest.approx(0.107867, abs=1e-5)
    needed = (1.959964 * math.sqrt(0.3) + 0.841621 * math.sqrt(0.3 - found**2)) ** 2 / found**2  # Connor's n
    assert needed == pytest.approx(200, abs=0.01)


def test_the_detectable_difference_solves_connors_equation_by_hand():
    # n = 100, a quarter discordant; d = 0.14: 10 d = 1.4 against 1.96 * 0.5 + 0.8416 * sqrt(0.25 - 0.14²) = 1.384
    found = detectable_paired(100, 0.25)
    assert 10 * found == pytest.approx(1.959964 * 0.5 + 0.841621 * math.sqrt(0.25 - found**2), abs=1e-5)
    assert found == pytest.approx(0.1384, abs=1e-4)


def test_a_difference_cannot_exceed_the_discordance():
    assert math.isnan(detectable_paired(5, 0.1))
    assert math.isnan(detectable_paired(3, 1.0))  # of three questions not even the largest
    assert math.isnan(detectable_paired(200, 0))


def test_kappa_of_the_textbook_table_is_0_4():
    first = pd.Series([0] * 25 + [1] * 25)
    second = pd.Series([0] * 20 + [1] * 5 + [0] * 10 + [1] * 15)
    assert kappa(first, second) == pytest.approx(0.4)  # 0.7 agree, 0.5 by chance
    assert math.isnan(kappa(first * 0, second * 0))


def test_two_protocols_agree_on_an_option_or_on_reading_nothing():
    one = rows("1100", unread="   x", protocol="letter")
    other = rows("1000", unread="   x", protocol="option_likelihood").assign(parsed=[0.0, 1.0, 0.0, None])
    found = agreement_table(pd.concat([one, other]), BY).iloc[0]
    assert found[["first", "second", "n", "same"]].tolist() == ["letter", "option_likelihood", 4, 75]
    assert found[["accuracy_first", "accuracy_second"]].tolist() == [50, 25]
    assert found["kappa"] == pytest.approx((0.75 - 0.4375) / (1 - 0.4375))  # by chance: 3/4 * 2/4 + 0 + 1/4 * 1/4
    assert agreement_table(one, BY).empty


def test_letters_with_and_without_a_space_are_compared():
    one = rows("1100", protocol="letter_likelihood").assign(
        answer=0, parsed=[0, 0, 1, 2], alternative_parsed=[0, 3, 1, 1]
    )
    found = agreement_table(one, BY).iloc[0]
    assert found[["first", "second", "n", "same"]].tolist() == [
        *("letter_likelihood", "letter_likelihood, other form", 4, 50),
    ]
    assert found[["accuracy_first", "accuracy_second"]].tolist() == [50, 25]


def chosen(*parsed: int | None) -> pd.DataFrame:
    """Type-1 answers to one question after another; the right option is always A."""
    answers = rows("0" * len(parsed)).assign(answer=0, parsed=[math.nan if p is None else float(p) for p in parsed])
    return answers.assign(options=[["A", "B", "C", "D"]] * len(parsed), correct=[p == 0 for p in parsed])


def test_confusions_count_what_was_chosen_instead():
    table = confusion_table(chosen(1, 1, 2, 0, None), BY)
    assert table[["right", "chosen", "times", "offered", "share"]].to_numpy().tolist() == [
        ["A", "B", 2, 5, 40],
        ["A", "C", 1, 5, 20],
    ]


def test_look_alikes_are_counted_by_the_parts_in_which_they_differ():
    appearances = pd.DataFrame(
        {"colour": ["red", "red", "blue", "blue"], "shape": ["round", "square", "square", "round"]}, index=list("ABCD")
    )
    table = look_alike_table(chosen(1, 2, 0, None), BY, appearances)  # B and D differ from A in one part, C in two
    assert table[["differs", "offered", "chosen", "share"]].to_numpy().tolist() == [[1, 8, 1, 12.5], [2, 4, 1, 25]]
    assert look_alike_table(chosen(1), BY, appearances.loc[["A", "C"]])["offered"].tolist() == [1]


def test_gain_is_what_the_picture_adds_and_leakage_what_training_taught_without_it():
    def asked(mode, shown, withheld):
        return pd.concat([rows(shown, mode=mode, image="with"), rows(withheld, mode=mode, image="without")])

    both = pd.concat([asked("base", "1100000000", "1110000000"), asked("text_only", "1111111100", "1111000000")])
    table = leakage_table(both, BY).set_index("mode")
    assert table.loc["text_only", ["gain_type1", "leakage_type1"]].tolist() == [40, pytest.approx(10)]
    assert table.loc["base", ["gain_type1", "leakage_type1"]].tolist() == [pytest.approx(-10), 0]
    assert math.isnan(table.loc["base", "gain_type2"])


def test_leakage_without_an_untuned_model_or_an_ablation_is_empty():
    shown, withheld = rows("11", image="with"), rows("10", image="without")
    assert leakage_table(pd.concat([shown, withheld]), BY)["leakage_type1"].isna().all()
    assert leakage_table(shown, BY).empty


def test_statistics_tables_and_figures_need_no_torch():
    modules = ", ".join(f"helpers.results.{name}" for name in ("stats", "tables", "figures"))
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
