"""Draw figures again from their saved tables, without the runs behind them.

python -m helpers.results.figures.redraw table1 figure2 --from figures/demo --to FOLDER [--style my_style.yaml]

Without names, every figure in the folder is drawn. The tables are rounded, so a figure may differ from the first one
in what rounding takes away.
"""

import argparse
import random
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from helpers.config import SettingsError, advice
from helpers.config.figure_style import STYLE_FILE
from helpers.config.grids import load_grid
from helpers.paths import DATA, GRIDS, STEPS, TYPESET, Layout, resolve, resolve_output
from helpers.results.figures.accuracies import ablation_figure, accuracy_figure
from helpers.results.figures.answering import answering_figure
from helpers.results.figures.claims import claims_figure
from helpers.results.figures.concept import figure1
from helpers.results.figures.costs import figure2
from helpers.results.figures.families import families_figure, families_latex
from helpers.results.figures.grid import axis_words, grid_figure
from helpers.results.figures.latex import latex_table
from helpers.results.figures.photographs import photographs_figure
from helpers.results.figures.representations import cka_figure
from helpers.results.figures.resources_detail import saving_figure, time_figure, tradeoff_figure
from helpers.results.figures.style import save, use_displays, use_style
from helpers.results.figures.typeset import table_figure
from helpers.results.figures.verdict import verdict_figure
from helpers.synthetic.appearances import BUTTERFLY
from helpers.synthetic.drawing import draw

_LAYERS = "_layers"  # the end of the name of a grid's similarities by layer


def _figure1(texts: pd.DataFrame) -> Figure:
    """Figure 1 as in notebook 07: the image is drawn again."""
    butterflies = pd.read_csv(DATA / "butterflies.csv", index_col="class_id", keep_default_na=False)
    monarch = butterflies.loc["monarch", list(BUTTERFLY.parts)].to_dict()
    description, own_words = texts["words"]
    image = draw("butterfly", monarch, random.Random(3), size=448)
    return figure1(image, "Monarch", description, own_words, ["Monarch", "Viceroy", "Atala", "Painted Lady"])


DRAWN_BY: Mapping[str, Callable[[pd.DataFrame], Figure]] = {
    "figure1": _figure1,
    "table1": table_figure,
    "table2": table_figure,
    "accuracy": accuracy_figure,
    "ablation": ablation_figure,
    "claims": claims_figure,
    "figure2": figure2,
    "figure2_column": partial(figure2, one_column=True),
    "resources_tradeoff": tradeoff_figure,
    "resources_saving": saving_figure,
    "resources_time": time_figure,
    "answering": answering_figure,
    "verdict": verdict_figure,
    "photographs": photographs_figure,
    "families": families_figure,
}
_AS_LATEX = {"families": families_latex}


def redraw(file: Path, to: Path) -> Path:
    """Draw the figure whose table is ``file`` into the folder ``to``; returns the PNG's path.

    A table of a grid (in a folder ``ablations``, ``findings`` or ``grids``) has its title and axis from `config/grids`.
    """
    try:
        table = pd.read_csv(file, keep_default_na=False, na_values=[""])
    except pd.errors.EmptyDataError:  # nothing was measured, which the figure says
        table = pd.DataFrame()
    tex = _AS_LATEX.get(file.stem, latex_table)(table) if file.stem in TYPESET else None
    return save(_drawer(file)(table), to, file.stem, table, [file], tex)


def _drawer(file: Path) -> Callable[[pd.DataFrame], Figure]:
    if not {"ablations", "findings", "grids"} & set(file.parts):
        return DRAWN_BY[file.stem]
    if file.stem.endswith(_LAYERS):
        return cka_figure
    grid = load_grid(GRIDS / f"{file.stem}.yaml")
    return lambda table: grid_figure(table, grid.title, axis_words(grid.x) if grid.x else None)


def tables_of(folder: Path) -> dict[str, Path]:
    """The tables of figures in a folder of figures or of a run, by name; a grid's as ``ablations/<grid>`` or, of that
    collection, ``findings/<grid>``.
    """
    collections = [folder / "ablations", folder / "findings", *folder.glob("grids/*/figures")]
    found = {}
    for is_grid, folders in ((False, [folder, folder / "figures"]), (True, collections)):
        for file in sorted(file for place in folders for file in place.glob("*.csv")):
            grid = GRIDS / f"{file.stem.removesuffix(_LAYERS)}.yaml"
            if (grid.is_file() if is_grid else file.stem in DRAWN_BY) and file.with_suffix(".png").is_file():
                found[f"{load_grid(grid).collection}/{file.stem}" if is_grid else file.stem] = file
    return found


def chosen(names: list[str], known: Mapping[str, Path], where: str) -> dict[str, Path]:
    """The tables of these names; a grid may be named without its folder. Raises `SettingsError` for another name."""
    short = {name.rpartition("/")[2]: name for name in known}
    full = [name if name in known else short.get(name, name) for name in names]
    if unknown := [name for name in full if name not in known]:
        said = advice(unknown, known).replace("the fields here are", "there are")
        raise SettingsError(f"no figure {', '.join(unknown)} in {where}; {said or 'none'}")
    return {name: known[name] for name in full or known}


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m helpers.results.figures.redraw", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: every figure of the folder")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--from", dest="folder", metavar="FOLDER", help="such as figures/demo or runs/demo")
    source.add_argument("--made-in", metavar="RUN", help="only print which files of this run the names stand for")
    parser.add_argument(
        "--to", metavar="FOLDER", default="runs/lab/redrawn", help="where the figures go (default: %(default)s)"
    )
    parser.add_argument("--style", default=str(STYLE_FILE), help="a file like config/style.yaml, which is the default")
    given = parser.parse_args(arguments)
    try:
        if given.made_in:
            layout = Layout(Path(given.made_in))
            names = [name for step in ("ablation", "resources", "paper") for name in STEPS[step].figures]
            made = {name: layout.figures / f"{name}.png" for name in names}
            print(*chosen(given.names, made, "the paper's figures").values(), sep="\n")
            return 0
        folder, to = resolve(given.folder), resolve_output(given.to)
        if to == folder or to == folder / "figures":
            raise SettingsError(f"--to: {given.to} is where the figures come from, whose records would no longer fit")
        use_style(file=resolve(given.style))
        use_displays({}, folder)
        for name, file in chosen(given.names, tables_of(folder), given.folder).items():
            print(redraw(file, (to / name).parent))
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
