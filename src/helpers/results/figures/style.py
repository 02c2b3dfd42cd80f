"""What all figures share: type, colours, words, and how a figure is saved.

A figure is a plain `matplotlib.figure.Figure` (not pyplot's), so drawing leaves no global state behind. The
colours are Okabe and Ito's, which colour-blind readers can tell apart (https://jfly.uni-koeln.de/color/). A mode has
the same colour in every figure.

Font, size, width and colours come from `config/style.yaml`. Every figure is laid out for type of 8 points, and `save`
magnifies the whole: 12 points on 7 inches are laid out as 8 points on 4.67 inches. So a layout has to bear other widths
(`text_width`) and nothing else.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import Op, PdfFile, RendererPdf
from matplotlib.colors import is_color_like
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.textpath import TextPath
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from helpers.config import SettingsError
from helpers.config.figure_style import STYLE_FILE, FigureStyle, load_style
from helpers.config.profiles import profile_of
from helpers.domains import domain_labels
from helpers.images import in_few_colours
from helpers.paths import ROOT, atomic_write
from helpers.results.tables.files import write_csv
from helpers.workflow.provenance import manifest_in_progress, write_sidecar

INK, SOFT, FAINT = "#222222", "#6E6E6E", "#D9D9D9"
COLOURS = {
    "base": "#8C8C8C",
    "text_only": "#0072B2",
    "image_text": "#E69F00",
    "hybrid": "#009E73",
    "joint": "#D55E00",
    "printed": "#CC79A7",
}
OTHER_COLOURS = ("#56B4E9", "#8A7B00", "#6A3D9A", "#882255", "#000000")  # for modes without an entry above
MARKERS = {
    "direct": "o",
    "describe_then_answer": "s",
    "describe_then_answer_image_kept": "X",
    "describe_then_answer_tuned": "D",
    "one_pass_chain": "X",
}  # a prompting strategy has the same shape in every figure
OTHER_MARKERS = ("^", "v", "P")

SMALL = 6.5  # points: the smallest font size in any figure
_SIZE = 8  # points: the type for which figures are laid out
_SIZES: dict[str, float] = {
    "font.size": _SIZE,
    "axes.titlesize": _SIZE,
    "axes.labelsize": _SIZE,
    "legend.fontsize": _SIZE,
}
_SIZES |= {"xtick.labelsize": 7.5, "ytick.labelsize": 7.5}
_NARROWEST = {"width": 4.6, "column_width": 2.1}  # inches that type of 8 points needs
_SAMPLE = "Training on text alone, asked directly: 28.5 [22.7, 35.1]"

STYLE: Any = {  # with font and sizes: see `use_style`
    "mathtext.fontset": "stix",
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # TrueType: embedded, searchable, and accepted by publishers, unlike Type 3
}
styled = mpl.rc_context(STYLE)  # decorates a drawing function; the style applies only inside it

_DEFAULT_COLOURS = dict(COLOURS)
_in_use: dict[str, Any] = {}  # the style, its file, and how much wider its font is than STIX


def use_style(style: FigureStyle | None = None, file: Path = STYLE_FILE) -> FigureStyle:
    """Set the style of this process's figures: ``style``, or what ``file`` holds. Returns it.

    Raises `SettingsError` for a font that is not installed, for what is no colour, and for type that is too large for
    the width.
    """
    style = style or load_style(file)
    try:
        findfont(FontProperties(family=style.family), fallback_to_default=False)
    except ValueError:
        raise SettingsError(
            f"family: the font {style.family!r} is not installed; install it, or use STIXGeneral, 'DejaVu Sans' or "
            f"'DejaVu Serif', which come with matplotlib (in {file.name})"
        ) from None
    if unfit := next((name for name, shade in style.colours.items() if not is_color_like(shade)), None):
        raise SettingsError(
            f"colours: {style.colours[unfit]!r} of {unfit} is no colour; write '#0072B2' or a name such as teal "
            f"(in {file.name})"
        )
    wide = max(1.0, _sample_width(style.family) / _sample_width("STIXGeneral"))
    for field, least in _NARROWEST.items():
        if (needed := least * wide * style.size / _SIZE) > getattr(style, field):
            raise SettingsError(
                f"{field}: {getattr(style, field):g} inches are too narrow for type of {style.size:g} points in "
                f"{style.family}; use at least {needed + 0.05:.1f} inches or smaller type (in {file.name})"
            )
    _in_use.update(style=style, file=file, wide=wide)
    STYLE.update({"font.family": style.family, **{name: type_size(size) for name, size in _SIZES.items()}})
    COLOURS.clear()
    COLOURS.update(_DEFAULT_COLOURS | style.colours)
    return style


def _sample_width(family: str) -> float:
    return float(TextPath((0, 0), _SAMPLE, size=_SIZE, prop=FontProperties(family=family)).get_extents().width)


def type_size(size: float) -> float:
    """A font size of the layout: smaller for a font that is wider than STIX, which is magnified more in return."""
    return float(size / _in_use["wide"])


def magnification() -> float:
    """How much larger a figure is saved than it is laid out."""
    return float(_in_use["style"].size * _in_use["wide"] / _SIZE)


def text_width() -> float:
    """The width of a figure in the layout, in inches: 7 by default, 4.67 for type of 12 points."""
    return float(_in_use["style"].width / magnification())


def column_width() -> float:
    """The width of a figure for one column in the layout, in inches."""
    return float(_in_use["style"].column_width / magnification())


def has_titles() -> bool:
    """Whether figures have titles; a paper may put them in the captions."""
    return bool(_in_use["style"].titles)


use_style()

BASELINES = {
    "options_described": "told the descriptions",
    "dictionary": "dictionary of its words",
    "dictionary_translated": "dictionary, texts reworded",
    "embeddings": "embeddings of its words",
    "contrastive": "CLIP by description",
    "nearest_features": "nearest image, CLIP",
    "nearest_pixels": "nearest image, pixels",
    "prior": "prior of the texts",
    "most_frequent_option": "commonest option",
    "longest_option": "longest option",
}  # modes of notebook 12, in words

# Table keys in words. Model names come from the profile. A key without an entry stands for itself.
LABELS = {
    "base": "untuned",
    "text_only": "text only",
    "image_text": "image + text",
    "joint": "joint",
    "hybrid": "hybrid",
    "printed": "printed text",
    **BASELINES,
    "baseline": "No model",
    "option_only": "option alone",
    "direct": "asked directly",
    "describe_then_answer": "describe, then answer",
    "describe_then_answer_image_kept": "describe, then answer (image kept)",
    "describe_then_answer_tuned": "describe (tuned), then answer",
    "one_pass_chain": "one-pass chain",
    "type1": "Type 1: recognition",
    "type2": "Type 2: reasoning",
    "overall": "Overall",
    "with": "with image",
    "without": "image withheld",
    "blank": "blank image",
    "other": "another image",
    "described": "description instead",
    "named": "true name instead",
    "guided": "image, guided",
    "option_likelihood": "option likelihood",
    "option_likelihood_normalised": "length-normalised option likelihood",
    "option_score": "likeness or count",
    "letter": "generated letter",
    "letter_likelihood": "letter likelihood",
}


_displays: dict[str, str] = {}  # model key: display name, set by `use_displays`


def use_displays(displays: Mapping[str, str], run: str | Path) -> dict[str, str]:
    """Set, and return, the display names of the models in this process's figures and shown tables.

    If ``displays`` is empty, the names come from the profile that the run's folder is named after; ``run`` may also be
    a folder or file within it. A model without a display name keeps its key. Raises ``ValueError`` if two models share
    a name.
    """
    profile = None if displays else profile_of(run)
    found = {key: model.display for key, model in profile.models.items()} if profile else dict(displays)
    if twice := next((name for name in found.values() if [*found.values()].count(name) > 1), None):
        keys = ", ".join(key for key, name in found.items() if name == twice)
        raise ValueError(
            f"the models {keys} all have the display name {twice!r}, so no table could tell them apart; rename one"
        )
    _displays.clear()
    _displays.update(found)
    return found


def with_displays(table: pd.DataFrame) -> pd.DataFrame:
    """A copy with display names in the column or index level `model`; the files keep the keys."""
    if "model" in table.index.names:
        table = table.rename(index=_displays, level="model" if table.index.nlevels > 1 else None)
    return table.assign(model=table["model"].replace(_displays)) if "model" in table.columns else table.copy()


def label(key: str) -> str:
    """A key of a model, domain or table in words."""
    return _displays.get(key) or LABELS.get(key) or domain_labels().get(key, key)


def colour(mode: str, modes: Sequence[str]) -> str:
    """A mode's colour; modes without an entry in `COLOURS` get the other colours in order."""
    others = [other for other in modes if other not in COLOURS]
    return COLOURS.get(mode) or OTHER_COLOURS[others.index(mode) % len(OTHER_COLOURS)]


def marker(answering: str, answerings: Sequence[str]) -> str:
    """The shape of a prompting strategy, by the same rule as `colour`."""
    others = [other for other in answerings if other not in MARKERS]
    return MARKERS.get(answering) or OTHER_MARKERS[others.index(answering) % len(OTHER_MARKERS)]


def values_of(table: pd.DataFrame, column: str) -> list[Any]:
    """The distinct values of a column, in the table's order."""
    return list(table[column].unique())


def questions_said(group: pd.DataFrame, kind: str) -> str:
    """The number of questions behind a group of accuracies: "200", or "116–200" if its rows differ."""
    counts = group["n_type1"] + group["n_type2"] if kind == "overall" else group[f"n_{kind}"]
    counts = counts[group[kind].notna()]
    if counts.empty:
        return "0"
    return f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()}–{counts.max()}"


def panel_title(group: pd.DataFrame, kind: str, first: bool) -> str:
    """The number of questions of a panel and, above the first row of panels, the question type."""
    n = f"n = {questions_said(group, kind)}"
    if not first:
        return n
    return f"{label(kind)}\n{n}" if is_narrow() else f"{label(kind)} ({n})"


def is_narrow() -> bool:
    """Whether figures need the layouts for a narrow page: fewer panels side by side, titles on more lines."""
    return text_width() < 6.3


def legend_above(figure: Figure, keys: Sequence[Artist], columns: int, where: str = "center", **how: Any) -> None:
    """A legend above all panels, in at most so many columns, and no wider than the figure."""
    how["loc"] = f"outside upper {where}"
    intended = -(-len(keys) // columns)  # lines
    for lines in range(intended, len(keys) + 1):
        legend = figure.legend(handles=keys, ncols=-(-len(keys) // lines), **how)
        if legend.get_window_extent().width <= figure.bbox.width or lines == len(keys):
            figure.set_figheight(figure.get_figheight() + 0.16 * (lines - intended))
            return
        legend.remove()


def seeds_said(table: pd.DataFrame) -> str:
    """The number of seeds behind a table with `seeds` (a number per row) or `seed` (a run per row); else empty.

    The untuned model has no training, so that its one row of answers does not count.
    """
    trained = table[table["mode"] != "base"] if "mode" in table.columns else table
    if "seeds" in table.columns:
        counts = trained["seeds"].dropna().astype(int)
    elif "seed" in table.columns:
        counts = trained.groupby("mode")["seed"].nunique() if "mode" in table.columns else trained[["seed"]].nunique()
    else:
        return ""
    if counts.empty or counts.max() == 1:
        return "one seed" if len(table) else ""
    return f"means over {'–'.join(map(str, sorted({counts.min(), counts.max()})))} seeds"


def note_below(figure: Figure, *notes: str) -> None:
    """Small print below all panels, and the figure as much taller; nothing for empty notes."""
    words = textwrap.wrap("; ".join(filter(None, notes)), int(22 * text_width()))
    if words:
        figure.set_figheight(figure.get_figheight() + 0.13 * len(words))
        figure.supxlabel("\n".join(words), x=0.99, ha="right", fontsize=type_size(7), color=SOFT)


def page(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty page to draw on; coordinates are inches from the upper left corner."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


@styled
def notice(words: str) -> Figure:
    """A figure that says why there is nothing to show, for a file that the workflow expects."""
    figure, axes = page(text_width(), 0.5)
    axes.text(
        text_width() / 2,
        0.25,
        "\n".join(textwrap.wrap(words, int(15 * text_width()))),
        ha="center",
        va="center",
        color=SOFT,
    )
    return figure


@styled
def save(
    figure: Figure, folder: Path, name: str, data: pd.DataFrame, inputs: Iterable[str | Path], tex: str | None = None
) -> Path:
    """Write `name`.csv, .pdf, .png (300 dpi) and .json (for `helpers.workflow.verify`); returns the PNG's path.

    ``tex``: a table's LaTeX, for `name`.tex.

    The metadata names the `inputs`, relative to the repository, and the manifest of the current run (none outside the
    workflow). It has no date: the same data gives the same file, so version control and the workflow see no change.
    """
    inputs = list(inputs)
    sources = "; ".join(_relative(path) for path in inputs)
    made_by = f"manifest: {manifest_in_progress() or 'none'}"
    write_csv(data, folder / f"{name}.csv")
    if tex is not None:
        with atomic_write(folder / f"{name}.tex") as temporary:
            temporary.write_text(tex, encoding="utf-8")
    with atomic_write(folder / f"{name}.pdf") as temporary:
        about = {"Title": name, "Subject": made_by, "Keywords": sources, "CreationDate": None}
        _write_pdf(figure, temporary, about)
    figure.set_layout_engine("none")  # already laid out; doing it again would take as long as drawing
    with atomic_write(folder / f"{name}.png") as temporary:
        _write_png(figure, temporary, {"Title": name, "Description": made_by, "Source": sources})
    write_sidecar(folder, name, [*inputs, *(file for file in [_in_use["file"]] if file.is_file())])
    return folder / f"{name}.png"


def _write_png(figure: Figure, path: Path, about: Mapping[str, str]) -> None:
    """As `Figure.savefig` writes it, in few colours."""
    drawn, resolution, described = BytesIO(), 300 * magnification(), PngInfo()
    figure.savefig(drawn, format="png", dpi=resolution, pil_kwargs={"compress_level": 1})  # only read again, once
    for name, value in about.items():
        described.add_text(name, value)
    with Image.open(drawn) as image:
        in_few_colours(image).save(path, dpi=(resolution, resolution), pnginfo=described)


def _write_pdf(figure: Figure, path: Path, about: Mapping[str, Any]) -> None:
    """Lay out and save. `savefig` cannot magnify a PDF: its dpi is that of pixels alone."""
    scale = magnification()
    figure.savefig(path if scale == 1 else BytesIO(), format="pdf", metadata=about)
    figure.set_layout_engine("none")  # laid out now; doing it again would take as long as drawing
    if scale == 1:
        return
    (width, height), dpi = figure.get_size_inches(), figure.dpi
    file = PdfFile(path, metadata=about)
    try:
        file.newPage(scale * width, scale * height)
        file.output(scale, 0, 0, scale, 0, 0, Op.concat_matrix)
        figure.dpi = 72  # there are 72 points to an inch
        figure.draw(RendererPdf(file, 300, height, width))
        file.finalize()
    finally:
        file.close()
        figure.dpi = dpi


def _relative(path: str | Path) -> str:
    """The path within the repository, or only the name of a file elsewhere, whose folder exists on one machine only."""
    path = Path(path)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
