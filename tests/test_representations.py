"""Centred kernel alignment: known values, and what it must not depend on."""

import numpy as np
import pandas as pd
import pytest

from helpers.evaluation.representations import linear_cka, unbiased_hsic
from helpers.results.tables.representations import read_representations

RNG = np.random.default_rng(0)
THINGS = RNG.normal(size=(40, 6))


def test_the_criterion_of_a_matrix_worked_out_by_hand():
    ones = np.ones((4, 4))  # off the diagonal: tr(KL) = 12, 1'K1 = 12, 1'KL1 = 36
    assert unbiased_hsic(ones, ones) == pytest.approx((12 + 144 / 6 - 2 * 36 / 2) / 4)


def test_the_alignment_of_two_groupings_worked_out_by_hand():
    pairs = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])  # 1 with 2, 3 with 4
    across = pairs[[0, 2, 1, 3]]  # 1 with 3, 2 with 4
    # of either: tr(KK) = 4, 1'K1 = 4, 1'KK1 = 4; of both: tr(KL) = 0, 1'KL1 = 4
    assert unbiased_hsic(pairs @ pairs.T, pairs @ pairs.T) == pytest.approx((4 + 16 / 6 - 2 * 4 / 2) / 4)
    assert unbiased_hsic(pairs @ pairs.T, across @ across.T) == pytest.approx((0 + 16 / 6 - 2 * 4 / 2) / 4)
    assert linear_cka(pairs, across) == pytest.approx(-1 / 2)


def test_things_are_wholly_like_themselves_turned_scaled_and_shifted():
    turn = np.linalg.qr(RNG.normal(size=(6, 6)))[0]
    assert linear_cka(THINGS, THINGS) == pytest.approx(1)
    assert linear_cka(THINGS, 3 * THINGS @ turn + 5) == pytest.approx(1)


def test_unrelated_things_have_nothing_in_common_even_in_many_dimensions():
    values = [linear_cka(RNG.normal(size=(40, 200)), RNG.normal(size=(40, 200))) for _ in range(50)]
    assert abs(np.mean(values)) < 0.02


@pytest.mark.parametrize(("first", "second"), [(3, 3), (5, 6)])
def test_too_few_or_different_things_are_refused(first, second):
    with pytest.raises(ValueError, match="CKA needs the same ones twice, at least 4"):
        linear_cka(THINGS[:first], THINGS[:second])


def test_the_tables_beside_the_answers_are_read_as_one(tmp_path):
    columns = ["model", "domain", "mode", "variant", "seed", "layer", "cka", "cka_shuffled", "classes"]
    for mode in ("base", "text_only", "none"):
        (tmp_path / mode).mkdir()
    for mode in ("base", "text_only"):
        row = ["m", "d", mode, "main", 0, 1, 0.5, 0.1, 9]
        pd.DataFrame([row], columns=columns).to_csv(tmp_path / mode / "representations.csv", index=False)
    files = [tmp_path / mode / "answers.jsonl" for mode in ("base", "text_only", "none")]
    assert list(read_representations(files)["stage"]) == ["before", "after"]
    assert read_representations(files[2:]).empty
    (tmp_path / "none" / "representations.csv").write_text("model\nm\n")
    with pytest.raises(ValueError, match=r"lacks domain, mode.*run its notebook 05 again"):
        read_representations(files)
