"""Claims about the figures: what is on them, that they bear missing parts, that they come out the same each time."""

import itertools

import matplotlib as mpl
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from helpers import paths
from helpers.paths import ROOT
from helpers.results import figures
from helpers.results.figures.costs import _number
from helpers.results.figures.style import (
    COLOURS,
    STYLE,
    colour,
    label,
    marker,
    questions_said,
    save,
    use_displays,
    with_displays,
)
from helpers.results.stats import wilson

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
    return table.assign(seconds=30 * scale, peak_memory_mb=1000 * scale, energy_wh=0.2 * scale)


def words(figure: Figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_visible())


def bold(figure: Figure) -> list[str]:
    texts = figure.findobj(mpl.text.Text)
    return [text.get_text() for text in texts if text.get_fontweight() == "bold" and text.get_text()[:1].isdigit()]


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
    table = accuracies().assign(tokens=40.0, seconds=0.25)
    figure = figures.answering_figure(table)
    assert len(figure.axes) == 4
    assert words(figure).count("0.25") >= 6
    assert len(figures.answering_figure(table.assign(seconds=float("nan"))).axes) == 3


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


def test_figure2_says_how_energy_was_found_where_the_records_do():
    assert "estimated (TDP)" in words(figures.figure2(costs().assign(energy_source="estimated (TDP)")))


def test_figure2_for_one_column_is_as_wide_as_a_column_and_a_domain_is_a_column():
    drawn = figures.figure2(costs(), one_column=True)
    assert drawn.get_size_inches()[0] == 3.3
    drawn.draw_without_rendering()
    whole, canvas = drawn.get_tightbbox(), drawn.bbox_inches
    assert whole.x0 >= canvas.x0 - 0.01 and whole.x1 <= canvas.x1 + 0.01  # nothing is cut off
    assert len(drawn.axes) == 3 * costs()["domain"].nunique()


def test_figure2_keeps_the_numbers_of_neighbouring_bars_apart_even_in_one_column():
    published = pd.read_csv(ROOT / "figures/demo/figure2_column.csv")
    drawn = figures.figure2(published, one_column=True)
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
    drawn += [figures.answering_figure(table.assign(tokens=1.0, seconds=0.1)), figures.grid_figure(grid(), "title")]
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
