"""Claims about accuracies and their uncertainty. All rows are made up here; expected values are computed by hand."""

import math

import pandas as pd
import pytest
from scipy.stats import binomtest

from helpers.statistics import accuracy_table, mcnemar_exact, paired_table, unreadable_table, wilson

BY = ["model", "mode"]


def rows(right: str, *, mode="text_only", seed=0, kind=1, unread=""):
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
    table = paired_table(answers, ["model"], "base", "text_only")
    assert table[["seed", "only_first", "only_second"]].to_numpy().tolist() == [[0, 0, 3], [1, 0, 4]]


def test_two_trained_modes_are_compared_seed_by_seed():
    answers = pd.concat([rows("10", seed=seed, mode=mode) for mode in ("image_text", "text_only") for seed in (0, 1)])
    assert paired_table(answers, ["model"], "image_text", "text_only")["seed"].tolist() == [0, 1]


def test_a_missing_mode_leaves_the_comparison_empty():
    table = paired_table(rows("10"), ["model"], "image_text", "text_only")
    assert table.empty
    assert "p_value" in table.columns
