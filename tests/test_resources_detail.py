"""What stands behind Figure 2 is computed from the records alone, and drawn with what they have."""

import json

import pandas as pd
import pytest

from helpers.results.figures.resources_detail import (
    PARTS,
    read_meter_samples,
    saving_figure,
    saving_table,
    split_table,
    time_figure,
    tradeoff_figure,
    tradeoff_table,
)
from helpers.results.figures.style import COLOURS

RUN = {"model": "qwen2_vl", "domain": "butterfly"}
ACCURACIES = pd.DataFrame(
    [
        {
            **RUN,
            "mode": mode,
            "answering": "direct",
            "seeds": 2,
            "type1": share,
            "type1_low": share - 5,
            "type1_high": share + 5,
        }
        for mode, share in {"base": 25.0, "text_only": 60.0, "image_text": 80.0}.items()
    ]
)


def records():
    costs = {"text_only": (50.0, 0, 0, 8.0), "image_text": (100.0, 300, 40, 10.0)}
    return pd.DataFrame(
        {**RUN, "mode": mode, "seed": seed, "seconds": 9.0, "compute_seconds": seconds + seed}
        | {"energy_wh": None, "memory_above_model_mb": seconds, "peak_memory_mb": 700.0}
        | {"vision_tower_calls": calls, "image_tokens": image, "flops": flops}
        | {"flops_text_tokens": 8.0 if mode == "text_only" else 6.0, "flops_projector": 0.0}
        | {"flops_image_tokens": 0.0 if mode == "text_only" else 3.0}
        | {"flops_tower": 0.0 if mode == "text_only" else 1.0}
        for mode, (seconds, calls, image, flops) in costs.items()
        for seed in (0, 2)
    )


def test_each_trained_model_stands_at_its_mean_cost_and_its_accuracy():
    table = tradeoff_table(records(), ACCURACIES)
    assert list(table["mode"]) == ["text_only", "image_text"]  # the untuned model has no cost
    assert list(table["compute_seconds"]) == [51.0, 101.0]
    assert "energy_wh" not in table  # nobody measured it
    assert list(table["type1"]) == [60.0, 80.0]


def test_a_saving_is_the_share_of_the_means():
    shares = saving_table(records()).set_index("cause")["share"]
    assert shares["compute_seconds"] == pytest.approx(51 / 101, abs=1e-4)
    assert shares["memory_above_model_mb"] == 0.5 and "energy_wh" not in shares
    assert (shares["vision_tower_calls"], shares["image_tokens"], shares["peak_memory_mb"]) == (0, 0, 1)
    assert "tokens" not in shares  # the records do not have them


def test_the_operations_saved_are_split_by_what_they_were_for():
    split = split_table(records()).set_index("part")["percent"]
    assert split.sum() == pytest.approx(100)
    assert split["vision tower"] == 50.0  # 1 of the 2 operations saved
    assert split["language model, text tokens"] == -100.0  # text-only reads more text
    assert split_table(records().drop(columns=list(PARTS))).empty


def test_one_mode_alone_is_compared_with_nothing():
    alone = records().query("mode == 'text_only'")
    assert saving_table(alone).empty and split_table(alone).empty


def test_the_figures_are_drawn_in_the_modes_own_colours(tmp_path):
    samples = pd.DataFrame({"seconds": [1.0, 2.0], "cpu_w": [4.0, 5.0], "gpu_w": [0.0, 0.0], "gpu_mb": [None, None]})
    samples = samples.assign(process_mb=700.0, mode="image_text", **RUN)
    drawn = time_figure(samples)
    assert drawn.axes[0].get_lines()[0].get_color() == COLOURS["image_text"]
    for figure in (
        drawn,
        tradeoff_figure(tradeoff_table(records(), ACCURACIES)),
        saving_figure(saving_table(records())),
    ):
        figure.savefig(tmp_path / "figure.png")


def test_nothing_to_draw_is_said_and_not_an_error(tmp_path):
    for figure in (
        tradeoff_figure(pd.DataFrame()),
        saving_figure(saving_table(records().head(1))),
        time_figure(pd.DataFrame()),
    ):
        assert figure.axes[0].texts[0].get_text().startswith("No ")
        figure.savefig(tmp_path / "notice.png")


def test_the_samples_of_the_lowest_seed_are_read_and_a_variants_are_not(tmp_path):
    for name, seed, variant in (("a", 3, "main"), ("b", 1, "main"), ("c", 0, "rank"), ("d", 0, "main")):
        folder = tmp_path / name
        folder.mkdir()
        record = {**RUN, "mode": "text_only", "seed": seed, "variant": variant}
        (folder / "resources.json").write_text(json.dumps(record))
        if name != "d":  # that run left no samples
            pd.DataFrame({"seconds": [float(seed)]}).to_parquet(folder / "resources.parquet")
    found = read_meter_samples(sorted(tmp_path.rglob("resources.json")))
    assert (list(found["seconds"]), list(found["mode"])) == ([1.0], ["text_only"])
    assert read_meter_samples([]).empty
