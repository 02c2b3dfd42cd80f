"""What a notebook shows of a table: words, few digits, and a sentence where there is nothing to see."""

import pandas as pd
import pytest

from helpers.results.figures.style import use_displays
from helpers.results.shown import Sentence, labelled, shown

ROWS = pd.DataFrame(
    {
        "model": ["qwen2_vl", "qwen2_vl"],
        "mode": ["base", "text_only"],
        "answering": ["direct", "option_only"],
        "type1": [28.5, 72.0],
        "type1_low": [22.7, 65.4],
        "type1_high": [35.1, 77.8],
        "unknown": [None, None],
    }
)


def test_keys_become_words_on_the_left_and_an_interval_stands_behind_its_value():
    use_displays({"qwen2_vl": "Qwen2-VL (tiny)"}, "runs/any")
    table = shown(ROWS)
    assert table.index.names == ["model", "training", "prompting"]
    assert list(table.index) == [
        ("Qwen2-VL (tiny)", "untuned", "asked directly"),
        ("Qwen2-VL (tiny)", "text only", "option alone"),
    ]
    assert {name: list(table[name]) for name in table} == {
        "Type 1 (%)": ["28.5\u00a0[22.7,\u00a035.1]", "72.0\u00a0[65.4,\u00a077.8]"]
    }


def test_a_difference_carries_its_sign_and_its_interval():
    table = shown(pd.DataFrame({"against": ["base"], "difference": [5.0], "low": [-1.5], "high": [11.25]}))
    assert list(table["difference (points)"]) == ["+5.00\u00a0[-1.50,\u00a0+11.25]"]
    assert list(table.index) == ["untuned"]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([36.90912, 4.5], ["36.91", "4.50"]),
        ([0.14250455, None], ["0.1425", ""]),
        ([198540, 2400], ["198,500", "2,400"]),
        ([34.613, 0.003], ["34.61", "0.003"]),  # small beside the other, but not zero
        ([1.0, 2.0], ["1", "2"]),
        ([0.0, 0.0], ["0", "0"]),
        ([-12.5, 50.5], ["-12.5", "50.5"]),
    ],
)
def test_numbers_have_at_most_four_significant_digits_and_one_number_of_decimals_per_column(numbers, said):
    assert list(shown(pd.DataFrame({"name": ["a", "b"], "number": numbers}))["number"]) == said


def test_a_p_value_is_never_rounded_to_zero():
    assert list(shown(pd.DataFrame({"against": ["base"] * 2, "p_holm": [4.8e-19, 0.0161]}))["p (Holm)"]) == [
        "<\u00a00.001",
        "0.016",
    ]


def test_a_table_without_rows_or_values_is_a_sentence():
    assert shown(ROWS.head(0), empty="Only one protocol was used.") == "Only one protocol was used."
    assert isinstance(shown(ROWS[["model", "unknown"]]), Sentence)


def test_a_table_of_zeros_is_a_sentence_where_one_is_given():
    zeros = pd.DataFrame({"model": ["qwen2_vl"], "type1": [0.0], "type2": [None]})
    assert shown(zeros, zero="Every reply could be read.") == "Every reply could be read."
    assert list(shown(zeros)["Type 1 (%)"]) == ["0"]
    assert not isinstance(shown(zeros.assign(type2=0.5), zero="Every reply could be read."), Sentence)


def test_a_sentence_is_shown_without_quotation_marks():
    assert repr(Sentence("It's so.")) == "It's so." == Sentence("It's so.")._repr_markdown_()


def test_the_columns_of_a_pivoted_table_are_the_values_of_their_key():
    """A phase `other` is not the picture `other`, and a number as a column's name is one."""
    rows = pd.DataFrame({"model": ["a"] * 2, "phase": ["other", "train"], "mode": ["base", "text_only"], "n": [1, 2]})
    assert list(shown(rows.pivot_table(index="model", columns="phase", values="n"))) == ["other", "train"]
    assert list(shown(rows.pivot_table(index="model", columns="mode", values="n"))) == ["untuned", "text only"]
    assert list(shown(pd.DataFrame({"model": ["a"], 2: [0.5]}))["2"]) == ["0.5"]


def test_a_record_is_shown_one_field_per_line_without_what_was_not_recorded():
    record = pd.Series({"mode": "text_only", "seed": 0, "correct": True, "gpu_mb": None, "options": ["other", "b"]})
    assert shown(record)[""].to_dict() == {
        "training": "text only",
        "seed": "0",
        "correct": "yes",
        "options": "other; b",
    }


def test_labelled_words_are_for_the_named_columns_only():
    table = labelled(ROWS, ["mode"])
    assert list(table["mode"]) == ["untuned", "text only"]
    assert list(table["answering"]) == ["direct", "option_only"]
    assert list(ROWS["mode"]) == ["base", "text_only"]
