"""Claims about the figures: what is on them, that they bear missing parts, that they come out the same each time."""

import itertools
import re

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from helpers import paths
from helpers.config import SettingsError
from helpers.config.figure_style import FigureStyle, load_style
from helpers.config.grids import load_grid
from helpers.paths import GRIDS, ROOT
from helpers.results import figures
from helpers.results.figures import resources_detail
from helpers.results.figures.costs import _number
from helpers.results.figures.latex import escaped
from helpers.results.figures.redraw import main as redraw
from helpers.results.figures.style import (
    COLOURS,
    STYLE,
    colour,
    label,
    marker,
    questions_said,
    save,
    text_width,
    use_displays,
    use_style,
    with_displays,
)
from helpers.results.stats import wilson
from helpers.schemas import NO_METER

MODES = ("base", "text_only", "image_text")
ALL_MODES = ("base", "text_only", "printed", "hybrid", "image_text")
SHARES = {"printed": 0.6, "base": 0.25, "text_only": 0.55, "image_text": 0.85, "hybrid": 0.7}


def accuracies(models=("qwen2_vl",), domains=("butterfly",), modes=MODES, images=(None,)) -> pd.DataFrame:
    """A made-up Table 1, or Table 2 with `images`; each mode lies higher than the one before."""
    rows = []
    for model, domain, mode, answering, image in itertools.product(
        models, domains, modes, ("direct", "describe_then_answer"), images
    ):
        share = 0.25 if image == "without" else SHARES[mode] + 0.1 * (answering == "describe_then_answer")
        key = {"model": model, "domain": domain, "mode": mode, "answering": answering}
        key |= {"image": image} if image else {}
        numbers = {"seeds": 1 if mode == "base" else 3, "n_type1": 200, "n_type2": 100}
        for measure, n in {"type1": 200, "type2": 100, "overall": 300}.items():
            low, high = wilson(share, n)
            numbers |= {measure: 100 * share, f"{measure}_low": 100 * low, f"{measure}_high": 100 * high}
        rows.append(key | numbers)
    return pd.DataFrame(rows).round(1)


def costs(modes=("text_only", "image_text"), seeds=(0, 1, 2), models=("qwen2_vl",), domains=("butterfly",)):
    """Made-up resource records: text-only takes 30 s on average, image-text 60 s."""
    runs = itertools.product(models, domains, modes, seeds)
    table = pd.DataFrame(list(runs), columns=["model", "domain", "mode", "seed"])
    scale = table["mode"].map({"text_only": 1, "image_text": 2, "hybrid": 1.5, "printed": 1.9}) * (
        1 + 0.1 * (table["seed"] - len(seeds) // 2)
    )
    return table.assign(compute_seconds=30 * scale, memory_above_model_mb=100 * scale, energy_wh=0.2 * scale)


def without_a_meter(table):
    return table.assign(energy_wh=float("nan"), energy_source=NO_METER)


def words(figure: Figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_visible())


def bold(figure: Figure) -> list[str]:
    texts = figure.findobj(mpl.text.Text)
    return [text.get_text() for text in texts if text.get_fontweight() == "bold" and text.get_text()[:1].isdigit()]


def test_no_two_modes_of_a_grid_share_a_colour():
    for grid in (load_grid(file) for file in sorted(GRIDS.glob("*.yaml"))):
        modes = [*(grid.modes or MODES), *grid.baselines]
        assert len({colour(mode, modes) for mode in modes}) == len(modes), grid.name


def test_a_mode_has_one_colour_and_unknown_modes_have_others():
    modes = [*MODES, "hybrid", "printed"]
    assert [colour(mode, modes) for mode in MODES] == list(COLOURS.values())[:3]
    assert len({colour(mode, [*modes, "new"]) for mode in [*modes, "new"]}) == len(modes) + 1
    assert (
        len(
            {
                marker(way, ("direct", "describe_then_answer", "new"))
                for way in ("direct", "describe_then_answer", "new")
            }
        )
        == 3
    )


@pytest.fixture
def displays():
    """`use_displays`, undone at the end."""
    yield use_displays
    use_displays({}, "none")


def test_a_profiles_name_of_its_model_is_the_one_in_print(tmp_path, monkeypatch, displays):
    demo = (paths.PROFILES / "demo.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(demo.replace("Qwen2-VL (tiny)", "My Model 7B"))
    monkeypatch.setattr(paths, "PROFILES", tmp_path)
    monkeypatch.setattr("helpers.config.profiles.load_profile.__defaults__", (None, tmp_path))
    assert displays({}, "runs/mine/baselines/butterfly")["qwen2_vl"] == "My Model 7B"
    table = accuracies(domains=("butterfly", "culture"))
    save(figures.accuracy_figure(table), tmp_path, "accuracy", table, [])
    assert "My Model 7B" in words(figures.accuracy_figure(table)) and "qwen2_vl" not in words(figures.figure2(costs()))
    assert set(pd.read_csv(tmp_path / "accuracy.csv")["model"]) == {"qwen2_vl"}  # the key, in files
    shown = with_displays(table)
    assert set(shown["model"]) == {"My Model 7B"} and set(table["model"]) == {"qwen2_vl"}
    indexed = with_displays(table.groupby(["model", "mode"])[["type1"]].mean())
    assert set(indexed.index.get_level_values("model")) == {"My Model 7B"}
    assert list(with_displays(table.groupby("model")[["type1"]].mean()).index) == ["My Model 7B"]


def test_without_a_profile_of_its_name_a_run_calls_models_by_their_keys_or_as_it_is_told(displays):
    assert displays({}, "runs/of_no_profile") == {}
    assert label("qwen2_vl") == "qwen2_vl"
    displays({"qwen2_vl": "Mine"}, "runs/demo")
    assert (label("qwen2_vl"), label("llava_next"), label("base")) == ("Mine", "llava_next", "untuned")
    displays({}, "figures/demo")  # published figures are named after the profile too
    assert label("qwen2_vl") == "Qwen2-VL (tiny)"


def test_two_models_of_one_name_are_refused(displays):
    with pytest.raises(ValueError, match="models a, b all have the display name 'Mine'"):
        displays({"a": "Mine", "b": "Mine"}, "runs/demo")


def test_an_unknown_key_stands_for_itself():
    assert label("base") == "untuned"
    assert label("new_vlm") == "new_vlm"


def test_differing_numbers_of_questions_are_shown_as_a_range():
    group = pd.DataFrame({"n_type1": [20, 40, 60], "n_type2": [5, 5, 0]})
    group = group.assign(type1=50.0, type2=[50.0, 50.0, None], overall=[50.0, 50.0, None])
    assert [questions_said(group, kind) for kind in ("type1", "type2", "overall")] == ["20–60", "5", "25–45"]


@pytest.mark.parametrize(("value", "said"), [(0.01234, "0.0123"), (9.5, "9.50"), (99.87, "99.9"), (12345.6, "12346")])
def test_values_have_three_significant_digits_and_no_exponent(value, said):
    assert _number(value) == said


def test_the_best_of_each_column_is_bold_within_its_group_ties_too():
    table = accuracies(models=("qwen2_vl", "llava_next"), modes=("base", "text_only"))
    table.loc[table["model"] == "llava_next", "type1"] = 25.0
    assert bold(figures.table_figure(table)) == [*["65.0"] * 3, *["25.0"] * 4, *["65.0"] * 2]


def test_a_table_shows_every_number_its_interval_and_n():
    shown = words(figures.table_figure(accuracies()))
    assert shown.count("[") == 6 * 3
    assert "n = 200" in shown
    assert "n = 300" in shown


def test_table_2_shows_both_columns_side_by_side():
    shown = words(figures.table_figure(accuracies(images=("with", "without"))))
    assert shown.count("[") == 6 * 6
    assert shown.count("image withheld") == 3


def test_without_the_picture_nothing_is_best():
    table = accuracies(modes=("base",), images=("with", "without"))
    assert bold(figures.table_figure(table)) == ["35.0"] * 3


def test_two_domains_stand_side_by_side_in_table_1_and_in_the_panels():
    table = accuracies(models=("qwen2_vl", "llava_next"), domains=("butterfly", "culture"))
    shown = words(figures.table_figure(table))
    assert shown.count("[") == 2 * 2 * 6 * 3
    assert "Korean culture" in shown
    assert len(figures.accuracy_figure(table).axes) == 2 * 4
    assert len(figures.accuracy_figure(accuracies(domains=("a", "b", "c"))).axes) == 3 * 2


def test_a_domain_that_a_model_lacks_leaves_its_panels_empty():
    table = pd.concat([accuracies(domains=("butterfly", "culture")), accuracies(models=("llava_next",))])
    assert [axes.axison for axes in figures.accuracy_figure(table).axes] == [True] * 6 + [False] * 2
    assert "Korean culture" in words(figures.table_figure(table))


def test_a_table_says_what_was_left_out_of_a_data_set():
    table = accuracies(domains=("butterfly", "culture"))
    told = table.assign(left_out=table["domain"].map({"butterfly": 0, "culture": 12}))
    shown = words(figures.table_figure(told)).replace("\n", " ")
    assert "Korean culture: 12 questions are left out, as their images are missing." in shown
    assert shown.count("left out") == 1
    assert "left out" not in words(figures.table_figure(table))


def test_a_table_says_by_which_protocol_it_was_read():
    assert "generated letter (letter)" in words(figures.table_figure(accuracies().assign(protocol="letter"))).replace(
        "\n", " "
    )


def test_an_ablation_that_was_not_made_says_so_in_its_figures():
    empty = accuracies(images=("with", "without")).iloc[:0]
    for draw in (figures.table_figure, figures.ablation_figure):
        assert "No question was asked" in words(draw(empty))


def test_describing_first_is_shown_with_its_cost():
    table = accuracies().assign(tokens=40.0, compute_seconds=0.25, compute_of="CPU")
    figure = figures.answering_figure(table)
    assert len(figure.axes) == 4
    assert words(figure).count("0.25") >= 6
    untimed = figures.answering_figure(table.assign(compute_seconds=float("nan")))
    assert len(untimed.axes) == 3 and "evaluate again (notebook 04)" in words(untimed)


def test_a_type_that_was_not_asked_is_an_empty_cell():
    table = accuracies(modes=("base",))
    table[["type2", "type2_low", "type2_high"]] = float("nan")
    assert "nan" not in words(figures.table_figure(table))
    assert "nan" not in words(figures.accuracy_figure(table))


def test_figure2_shows_means_and_the_ratio_of_text_only_to_image_text():
    shown = words(figures.figure2(costs()))
    assert "30.0\n×0.50" in shown
    assert "60.0" in shown
    assert shown.count("×") == 3  # time, memory, energy


def test_figure2_draws_every_seed_and_the_standard_deviation_between_them():
    axes = figures.figure2(costs(modes=("text_only",))).axes[0]
    (dots,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert sorted(dots.get_ydata()) == pytest.approx([27, 30, 33])
    (whisker,) = [line for art in axes.collections for line in art.get_segments()]
    assert [y for _, y in whisker] == pytest.approx([27, 33])  # 30 minus and plus the standard deviation of 27, 30, 33


def test_figure2_bears_a_single_seed_and_a_single_mode():
    shown = words(figures.figure2(costs(modes=("text_only",), seeds=(0,))))
    assert "×" not in shown
    assert "image + text" not in shown


def test_figure2_says_how_energy_was_measured_where_the_records_do():
    assert "CPU measured (RAPL)" in words(figures.figure2(costs().assign(energy_source="CPU measured (RAPL)")))


@pytest.mark.parametrize("one_column", [False, True])
def test_figure2_has_no_panel_for_energy_that_no_meter_measured_and_says_so(one_column):
    drawn = figures.figure2(without_a_meter(costs()), one_column=one_column)
    assert len(drawn.axes) == 2
    assert f"energy: {NO_METER}" in words(drawn).replace("\n", " ")


def test_figure2_of_records_by_an_earlier_version_says_what_they_lack():
    old = without_a_meter(costs()).assign(memory_above_model_mb=float("nan"))
    assert "memory above the loaded model: not recorded" in words(figures.figure2(old))
    assert "train again" in words(figures.figure2(old.drop(columns="compute_seconds")))
    assert "GPU time (s)" in words(figures.figure2(old.assign(compute_of="GPU")))


def test_figure2_for_one_column_is_as_wide_as_a_column_and_a_domain_is_a_column():
    drawn = figures.figure2(costs(), one_column=True)
    assert drawn.get_size_inches()[0] == 3.3
    drawn.draw_without_rendering()
    whole, canvas = drawn.get_tightbbox(), drawn.bbox_inches
    assert whole.x0 >= canvas.x0 - 0.01 and whole.x1 <= canvas.x1 + 0.01  # nothing is cut off
    assert len(drawn.axes) == 3 * costs()["domain"].nunique()


def test_figure2_keeps_the_numbers_of_neighbouring_bars_apart_even_in_one_column():
    both = costs(models=("qwen2_vl", "llava_next"), domains=("butterfly", "culture"))
    drawn = figures.figure2(both, one_column=True)
    for axes in drawn.axes:
        boxes = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.x0)
        apart = [72 / drawn.dpi * (right.x0 - left.x1) for left, right in itertools.pairwise(boxes)]
        assert len(apart) == 3 and min(apart) > 2.4  # points


def test_figure2_has_a_row_of_panels_for_each_domain():
    assert len(figures.figure2(costs(domains=("butterfly", "culture"))).axes) == 6


@pytest.mark.parametrize("modes", [MODES, ("base",), ("text_only", "hybrid")])
def test_accuracies_are_dots_in_the_colour_of_their_mode_beside_the_chance_line(modes):
    axes = figures.accuracy_figure(accuracies(modes=modes)).axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [to_hex(dot.get_color()).upper() for dot in dots] == [colour(mode, modes) for mode in modes] * 2
    assert axes.lines[0].get_xdata() == [25, 25]


def test_the_ablation_fills_the_dot_with_the_picture_and_opens_the_one_without():
    axes = figures.ablation_figure(accuracies(modes=("text_only",), images=("with", "without"))).axes[0]
    faces = {line.get_xdata()[0]: line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"}
    assert faces == {55: COLOURS["text_only"], 65: COLOURS["text_only"], 25: "white"}


def test_figure1_shows_the_picture_at_test_and_the_name_only_where_it_is_known():
    figure = figures.figure1(
        Image.new("RGB", (56, 56), "orange"), "Monarch", "It has orange wings.", "Orange wings.", ["Monarch", "Atala"]
    )
    shown = words(figure)
    assert len(figure.axes[0].images) == 3  # the test, image-text training, describe-then-answer; not text-only
    assert "Which species is this? Monarch or Atala?" in shown
    assert shown.count("It has orange wings.") == 2


def test_saving_twice_gives_the_same_bytes_with_the_data_and_the_inputs(tmp_path):
    table = accuracies()
    (tmp_path / "elsewhere.jsonl").write_text("{}")
    for folder in ("one", "two"):
        inputs = [ROOT / "data" / "reported.csv", tmp_path / "elsewhere.jsonl"]
        figures.save(figures.accuracy_figure(table), tmp_path / folder, "accuracy", table, inputs)
    names = ["accuracy.csv", "accuracy.json", "accuracy.pdf", "accuracy.png"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with Image.open(tmp_path / "one" / "accuracy.png") as png:
        assert png.info["Source"] == "data/reported.csv; elsewhere.jsonl"
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "one" / "accuracy.csv"), table)


def test_fonts_are_embedded_as_truetype_and_no_date_is_written(tmp_path):
    figures.save(figures.figure2(costs()), tmp_path, "figure2", costs(), [])
    pdf = (tmp_path / "figure2.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_the_style_holds_inside_a_figure_only():
    before = mpl.rcParams["font.family"]
    figures.table_figure(accuracies())
    assert mpl.rcParams["font.family"] == before != STYLE["font.family"]


def test_no_type_is_smaller_than_six_points():
    table = accuracies(modes=ALL_MODES, domains=("butterfly", "culture"))
    drawn = [figures.table_figure(table), figures.figure2(costs()), figures.accuracy_figure(table)]
    asked = table.assign(tokens=1.0, compute_seconds=0.1)
    drawn += [figures.answering_figure(asked), figures.grid_figure(grid(), "title")]
    assert min(text.get_fontsize() for figure in drawn for text in figure.findobj(mpl.text.Text)) >= 6


def test_figure2_of_many_modes_sets_its_numbers_upright():
    figure = figures.figure2(costs(modes=ALL_MODES[1:], models=("qwen2_vl", "llava_next")))
    upright = [text for text in figure.axes[0].texts if text.get_rotation() == 90]
    assert len(upright) == 8
    assert "×0.95" in words(figure)  # printed, 57 of 60


def grid(ranks=(4, 16, 64), modes=("text_only",), images=("with",)) -> pd.DataFrame:
    """A made-up grid: the middle rank is the reference, and only the first differs from it for sure."""
    parts = []
    for rank, image in itertools.product(ranks, images):
        table = accuracies(modes=modes)
        reference = rank == ranks[1]
        names = {"variant": f"rank {rank}", "reference": reference, "settings": "{}", "x": float(rank)}
        table = pd.DataFrame(names, index=table.index).join(table)
        table.insert(7, "image", image)
        table.insert(9, "protocol", "letter")
        for kind in ("type1", "type2"):
            low, high = (float("nan"),) * 2 if reference else ((5.0, 15.0) if rank == ranks[0] else (-5.0, 5.0))
            table = table.assign(**{f"{kind}_difference_low": low, f"{kind}_difference_high": high})
            table[f"{kind}_difference"] = (low + high) / 2
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def test_a_grid_has_a_dot_a_variant_and_way_of_asking_bold_where_it_surely_differs():
    figure = figures.grid_figure(grid(), "Rank of the adapter")
    shown = words(figure)
    assert "Rank of the adapter" in shown
    assert "rank 64" in shown
    assert "difference from “rank 16”" in shown
    assert bold(figure) == ["55.0", "65.0"] * 2
    shapes = [line.get_marker() for line in figure.axes[0].lines if line.get_marker() in "os"]
    assert shapes == ["o", "s"] * 3


def test_a_grid_on_an_axis_is_a_line_a_mode_and_way_of_asking():
    figure = figures.grid_figure(grid(modes=("base", "text_only")), "Rank", axis="rank")
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["4", "16", "64"]
    assert axes.get_xlabel() == figure.axes[1].get_xlabel() == "rank"
    assert axes.get_xscale() == "log"
    assert len(axes.containers) == 2  # text-only, asked in two ways; the untuned model does not depend on a rank


def test_what_does_not_depend_on_the_axis_is_a_dashed_line_across_it():
    shares = grid(ranks=(0, 0.5, 1), modes=("hybrid",))
    line = grid(ranks=(0, 0.5, 1), modes=("image_text",))
    axes = figures.grid_figure(
        pd.concat([line[line["reference"]], shares], ignore_index=True), "Share", axis="share"
    ).axes[0]
    assert len(axes.containers) == 2  # hybrid, asked directly and describing first
    across = [drawn for drawn in axes.lines if drawn.get_color() == COLOURS["image_text"]]
    assert [list(drawn.get_xdata()) for drawn in across] == [[0, 1]] * 2
    assert [drawn.get_ydata()[0] for drawn in across] == pytest.approx([85, 95])  # SHARES, and 10 more describing


def test_places_that_do_not_double_are_evenly_apart():
    axes = figures.grid_figure(grid(ranks=(0, 1, 2)), "Share", axis="share").axes[0]
    assert axes.get_xscale() == "linear"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2"]
    direct, described = (container.lines[0].get_xdata() for container in axes.containers)
    assert (described - direct).tolist() == pytest.approx([0.02] * 3)  # a hundredth of the axis


def test_a_grid_in_which_nothing_was_compared_says_nothing_of_bold_numbers():
    nothing = dict.fromkeys(("type1_difference_low", "type2_difference_low"), float("nan"))
    assert "bold:" in words(figures.grid_figure(grid(), "Rank"))
    assert "bold:" not in words(figures.grid_figure(grid().assign(**nothing), "Rank"))


def test_a_grid_without_places_on_the_axis_falls_back_to_dots():
    assert "rank 64" in words(figures.grid_figure(grid().assign(x=float("nan")), "Rank", axis="rank"))


def test_a_grid_of_pictures_opens_the_dots_of_those_that_are_changed():
    figure = figures.grid_figure(grid(images=("with", "blank")), "Pictures")
    assert "rank 4,\nblank image" in words(figure)
    faces = [line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert faces == [COLOURS["text_only"], "white"] * 3


def similarities() -> pd.DataFrame:
    runs = itertools.product(("qwen2_vl",), range(4), ("before", "after"), ("text_only", "image_text"))
    table = pd.DataFrame(list(runs), columns=["model", "layer", "stage", "mode"])
    return table.assign(cka=0.1 * table["layer"] + 0.3 * (table["stage"] == "after"))


def test_similarity_is_dashed_before_training_and_solid_after_it():
    axes = figures.cka_figure(similarities()).axes[0]
    assert [line.get_linestyle() for line in axes.lines] == ["--", "--", "-", "-"]
    assert axes.lines[2].get_ydata() == pytest.approx([0.3, 0.4, 0.5, 0.6])
    with pytest.raises(ValueError, match="stage is 'during'"):
        figures.cka_figure(similarities().assign(stage="during"))
    with pytest.raises(ValueError, match="lacks layer, cka"):
        figures.cka_figure(similarities().drop(columns=["layer", "cka"]))


# ---- the style file


@pytest.fixture
def style():
    """`use_style` with these settings, undone at the end."""
    yield lambda **settings: use_style(FigureStyle(**settings))
    use_style()


def claims() -> pd.DataFrame:
    """Two made-up claims, one of which takes more than one line."""
    titles = {"Text alone is enough": 4, "Training on text alone comes within the margin of training on both, " * 2: 8}
    keys = ("answering", "model", "domain")
    places = [("direct", "describe_then_answer"), ("qwen2_vl", "llava_next"), ("butterfly", "culture")]
    rows = []
    for claim, count in titles.items():
        for place, key in enumerate(itertools.islice(itertools.product(*places), count)):
            numbers = {"difference": 10.0 * place - 20, "low": 10.0 * place - 28, "high": 10.0 * place - 12, "seeds": 3}
            accuracy = {"accuracy": 70.0, "against_accuracy": 65.2, "outcome": ("yes", "open", "no")[place % 3]}
            rows.append({"claim": claim, **dict(zip(keys, key, strict=True)), **numbers, **accuracy})
    return pd.DataFrame(rows)


def every_figure() -> dict[str, Figure]:
    """Each kind of figure, of the demo's two models and domains."""
    both = {"models": ("qwen2_vl", "llava_next"), "domains": ("butterfly", "culture")}
    one, two = accuracies(**both), accuracies(**both, images=("with", "without"))
    spent = costs(**both)
    traded = resources_detail.tradeoff_table(spent, one)
    return {
        "table1": figures.table_figure(one),
        "table2": figures.table_figure(two),
        "accuracy": figures.accuracy_figure(one),
        "ablation": figures.ablation_figure(two),
        "answering": figures.answering_figure(one.assign(tokens=40.1, compute_seconds=0.0123)),
        "claims": figures.claims_figure(claims()),
        "figure2": figures.figure2(spent),
        "figure2_column": figures.figure2(spent, one_column=True),
        "tradeoff": resources_detail.tradeoff_figure(traded),
        "saving": resources_detail.saving_figure(resources_detail.saving_table(spent)),
        "grid": figures.grid_figure(grid(images=("with", "blank")), "Rank of the adapter"),
        "lines": figures.grid_figure(grid(modes=MODES), "Rank of the adapter", "rank of the adapter"),
        "cka": figures.cka_figure(
            pd.concat([similarities(), similarities().assign(model="llava_next")]).assign(seed=0)
        ),
        "notice": figures.table_figure(two.iloc[:0]),
    }


def fixed_texts(figure: Figure) -> list[tuple[str, mpl.transforms.Bbox]]:
    """The labels of a figure with their places in inches: those at its panels and above, not the numbers within."""
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.axison]
    texts = [text for axes in panels for text in (axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title)]
    for axis, end in ((axis, end) for axes in panels for axis, end in ((axes.xaxis, 0), (axes.yaxis, 1))):
        low, high = sorted(axis.get_view_interval())  # beyond it, labels are made and not drawn
        texts += [text for text in axis.get_ticklabels() if low <= text.get_position()[end] <= high]
    texts += [text for legend in figure.legends for text in legend.get_texts()]
    texts += [text for axes in figure.axes if not axes.axison for text in axes.texts]  # a table's, on its page
    shown = [text for text in texts if text.get_text().strip() and text.get_visible()]
    return [
        (text.get_text(), text.get_window_extent().transformed(figure.dpi_scale_trans.inverted())) for text in shown
    ]


@pytest.mark.parametrize("size", [7, 8, 11, 12])
def test_no_label_leaves_the_page_or_covers_another_at_any_size(style, displays, size):
    style(size=size)
    displays({}, "figures/demo")
    for name, figure in every_figure().items():
        texts = fixed_texts(figure)
        for words_, box in texts:
            assert box.x0 > -0.02 and box.y0 > -0.02, (name, words_)
            assert box.x1 < figure.get_figwidth() + 0.02 and box.y1 < figure.get_figheight() + 0.02, (name, words_)
        for (one, a), (other, b) in itertools.combinations(texts, 2):
            across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert across < 0.02 or down < 0.045, (name, one, other)  # inches: boxes hold room for ascenders


def test_a_larger_type_keeps_the_width_and_magnifies_everything(style, tmp_path):
    style(size=12)
    assert text_width() == pytest.approx(7 / 1.5)
    save(figures.accuracy_figure(accuracies()), tmp_path, "accuracy", accuracies(), [])
    with Image.open(tmp_path / "accuracy.png") as png:
        assert png.width == 2100  # 7 inches at 300 dpi
    pdf = (tmp_path / "accuracy.pdf").read_bytes()
    assert b"/MediaBox [ 0 0 504" in pdf  # 7 inches of 72 points


def test_the_style_file_holds_the_defaults_and_every_field(tmp_path):
    assert load_style() == FigureStyle()
    assert load_style().model_fields_set == set(FigureStyle.model_fields)
    (tmp_path / "mine.yaml").write_text("size: 11\ncolours: {text_only: teal}\n")
    assert load_style(tmp_path / "mine.yaml") == FigureStyle(size=11, colours={"text_only": "teal"})
    with pytest.raises(SettingsError, match=r"none.yaml is not there"):
        load_style(tmp_path / "none.yaml")


def test_another_font_and_another_colour_reach_the_figures_and_titles_can_go(style):
    style(family="DejaVu Sans", colours={"text_only": "#123456"}, width=8.5, column_width=4.0, titles=False)
    figure = figures.grid_figure(grid(), "Rank of the adapter")
    assert {text.get_fontname() for text in figure.findobj(mpl.text.Text)} == {"DejaVu Sans"}
    assert colour("text_only", MODES) == "#123456" and COLOURS["base"] == "#8C8C8C"
    assert "Rank of the adapter" not in words(figure)
    assert text_width() < 8.5 / 1.1  # a wider font has less room


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": "Comic Papyrus"}, "the font 'Comic Papyrus' is not installed"),
        ({"colours": {"base": "greyish"}}, "'greyish' of base is no colour"),
        (
            {"width": 5, "size": 12},
            "width: 5 inches are too narrow for type of 12 points in STIXGeneral; use at least 6.9",
        ),
        ({"column_width": 2}, "column_width: 2 inches are too narrow"),
    ],
)
def test_a_style_that_cannot_be_drawn_is_refused(style, settings, message):
    with pytest.raises(SettingsError, match=message):
        style(**settings)
    assert text_width() == 7


def test_every_figure_of_results_says_how_many_seeds_it_rests_on():
    for name, figure in every_figure().items():
        if name not in ("notice", "table1", "table2"):  # tables have a column of seeds
            assert "seed" in words(figure), name
    assert "one seed" in words(figures.accuracy_figure(accuracies().assign(seeds=1)))
    assert "means over 2–3 seeds" in words(figures.accuracy_figure(accuracies().assign(seeds=[1, 1, 2, 3, 3, 3])))


def test_a_setting_on_an_axis_is_named_in_words():
    assert figures.axis_words("training.lora_rank") == "rank of the adapter"
    assert figures.axis_words("training.new_setting") == "new setting"


# ---- from published tables; LaTeX


def test_a_figure_is_drawn_again_from_its_table_alone(tmp_path, capsys):
    published, paper = tmp_path / "published", tmp_path / "paper"
    save(figures.accuracy_figure(accuracies()), published, "accuracy", accuracies(), [])
    table = accuracies(images=("with", "without"))
    save(figures.table_figure(table), published, "table2", table, [], tex=figures.latex_table(table))
    ranks = grid()
    drawn = figures.grid_figure(ranks, "Rank of the adapter", "rank of the adapter")
    save(drawn, published / "ablations", "ranks", ranks, [])
    assert redraw(["--from", str(published), "--to", str(paper)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    for name in ("accuracy", "table2", "ablations/ranks"):
        with Image.open(published / f"{name}.png") as first, Image.open(paper / f"{name}.png") as again:
            assert first.tobytes() == again.tobytes(), name
    assert (paper / "table2.tex").read_bytes() == (published / "table2.tex").read_bytes()


def test_published_figures_can_be_drawn_again_in_another_style(tmp_path, style):
    (tmp_path / "large.yaml").write_text("size: 12\n")
    asked = [
        "table1",
        "ranks",
        "--from",
        "figures/demo",
        "--to",
        str(tmp_path),
        "--style",
        str(tmp_path / "large.yaml"),
    ]
    assert redraw(asked) == 0
    assert (tmp_path / "table1.tex").read_text().startswith("% needs") and (tmp_path / "ablations/ranks.pdf").is_file()


def test_a_figure_that_is_not_there_and_a_folder_that_would_be_overwritten_are_refused(capsys):
    assert redraw(["tabel1", "--from", "figures/demo"]) == 2
    assert "no figure tabel1 in figures/demo; did you mean table1?" in capsys.readouterr().err
    assert redraw(["table1", "--from", "figures/demo", "--to", "figures/demo"]) == 2
    assert "is where the figures come from" in capsys.readouterr().err
    assert redraw(["table1", "figure2", "--made-in", "runs/x"]) == 0
    assert capsys.readouterr().out.split() == ["runs/x/figures/table1.png", "runs/x/figures/figure2.png"]


def cells_of(latex: str) -> list[list[str]]:
    """The rows of a tabular, as a reader of LaTeX splits them; a cell over several columns counts as often."""
    assert (
        latex.count("{") == latex.count("}") and latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 1
    )
    found = []
    for line in latex.splitlines():
        if line.endswith(r"\\"):
            cells = line.removesuffix(r"\\").strip().split(" & ")
            spans = [re.match(r"\\multicolumn\{(\d)\}", cell) for cell in cells]
            found.append(
                [cell for cell, span in zip(cells, spans, strict=True) for _ in range(int(span[1]) if span else 1)]
            )
    return found


def test_a_table_in_latex_has_every_number_in_a_tabular_of_six_columns(displays):
    displays({"qwen2_vl": "My_Model & Co. 100%"}, "runs/demo")
    table = accuracies(images=("with", "without"))
    table.loc[0, ["type2", "type2_low", "type2_high"]] = float("nan")
    rows = cells_of(figures.latex_table(table))
    assert {len(row) for row in rows} == {6}
    assert rows[1][0] == r"\multicolumn{3}{l}{\textbf{My\_Model \& Co. 100\%, Butterfly, with image}}"
    assert rows[2] == ["untuned", "directly", "1", r"25.0 {\footnotesize [19.5, 31.4]}", "", rows[2][5]]
    assert len(rows) == 1 + 2 + len(table)
    best = [cell for row in rows for cell in row if cell.startswith(r"\textbf{9")]
    assert [cell[:13] for cell in best] == [r"\textbf{95.0}"] * 3  # image + text, describing; none without the image
    assert cells_of(figures.latex_table(table.iloc[:0])) == [rows[0]]


def test_what_latex_would_read_as_a_command_is_escaped():
    assert escaped("a_b & 50% #1 {x} ~ \\ ^ $") == (
        r"a\_b \& 50\% \#1 \{x\} \textasciitilde{} \textbackslash{} \textasciicircum{} \$"
    )
