r"""Tables 1 and 2 as LaTeX with booktabs rules, to be read by ``\input``; the paper adds caption and label."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from helpers.results.figures.style import BASELINES, label, questions_said
from helpers.results.figures.typeset import ASKED, MEASURES

_ESCAPED = str.maketrans(
    {
        **{mark: rf"\{mark}" for mark in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        **{"<": r"\textless{}", ">": r"\textgreater{}", "–": "--", "×": r"$\times$", "\xa0": "~", "’": "'"},
    }
)
_HEADS = ("trained on", "asked", "seeds")


def escaped(words: str) -> str:
    """Words as LaTeX prints them."""
    return words.translate(_ESCAPED)


def latex_table(table: pd.DataFrame) -> str:
    r"""What `table_figure` draws, with a group of lines per model, domain and state of the image.

    The highest accuracy of a column within a group is bold where the image was shown. Without rows, a tabular with its
    head alone. Needs ``\usepackage{booktabs}``.
    """
    keys = ["model", "domain", *(["image"] if "image" in table.columns else [])]
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{ll{'r' * (1 + len(MEASURES))}}}",
        r"\toprule",
        _line(*_HEADS, *(escaped(label(measure)) for measure in MEASURES)),
    ]
    for key, group in table.groupby(keys, sort=False) if len(table) else ():
        title = escaped(", ".join(map(label, key)))
        counts = (escaped(f"n = {questions_said(group, measure)}") for measure in MEASURES)
        lines += [r"\midrule", _line(rf"\multicolumn{{{len(_HEADS)}}}{{l}}{{\textbf{{{title}}}}}", *counts)]
        best = group[list(MEASURES)].max() if group.get("image", pd.Series("with")).iloc[0] == "with" else {}
        for row in group.to_dict("records"):
            lines.append(_line(*_labels(row), *(_cell(row, measure, best) for measure in MEASURES)))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _line(*cells: str) -> str:
    return " & ".join(cells) + r" \\"


def _labels(row: Mapping[Any, Any]) -> tuple[str, str, str]:
    """Mode, prompting strategy (baselines are asked in their own way) and seeds."""
    asked = "" if row["mode"] in BASELINES else ASKED.get(row["answering"], label(row["answering"]))
    return escaped(label(row["mode"])), escaped(asked), str(row["seeds"])


def _cell(row: Mapping[Any, Any], measure: str, best: Mapping[Any, Any]) -> str:
    """An accuracy with its interval; nothing for a question type that was not asked."""
    if pd.isna(row[measure]):
        return ""
    number = f"{row[measure]:.1f}"
    number = rf"\textbf{{{number}}}" if row[measure] == best.get(measure) else number
    return rf"{number} {{\footnotesize [{row[f'{measure}_low']:.1f}, {row[f'{measure}_high']:.1f}]}}"
