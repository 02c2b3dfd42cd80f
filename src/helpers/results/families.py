"""Every family of vision-language model beside the others: the table, what was claimed beforehand, what came out.

The rows are those of `helpers.families.study`. The rules were written before the numbers were known; one that fails
stays. Holm's correction covers all rows of their table.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from helpers.config.families import CAPTIONS, CONTROL, TEXTS
from helpers.families.registry import PROJECTS_OWN, family_of_member, member_class, members
from helpers.paths import MAIN
from helpers.results.findings import judged
from helpers.results.rules import Claim, Rule, decided
from helpers.results.stats import accuracy_table
from helpers.results.tables import read_answers
from helpers.workflow.verify import Verified

_COLUMNS = [
    *("family", "model", "title", "domain", "mode", "variant", "answering", "image", "seeds"),
    *("n_type1", "type1", "type1_low", "type1_high"),
]
FINDINGS = "families_findings"
_READ = {"mode": "text_only", "variant": CAPTIONS, "image": "with"}
_TEXTS = {**_READ, "variant": TEXTS}
_ASKED, _SPEAKS = ("direct",), ("describe_then_answer",)
RULES_OF_FAMILIES = (
    Rule(
        "Text alone teaches recognition in images: better than the same texts given to other classes",
        "families", _READ, "above", {"variant": CAPTIONS + CONTROL}, ways=_ASKED,
    ),
    Rule(
        "The same, if the model describes the image first",
        "families", _READ, "above", {"variant": CAPTIONS + CONTROL}, ways=_SPEAKS,
    ),
    Rule(
        "The same, asked directly, with texts in other words than the images' captions",
        "families", _TEXTS, "above", {"variant": TEXTS + CONTROL}, ways=_ASKED,
    ),
    Rule(
        "Trained on text alone, a model that is asked by name does as well as one that compares the image with the "
        "descriptions and is not trained",
        "families", _READ, "not below", {"mode": "by_description", "variant": CAPTIONS}, ways=_ASKED,
    ),
    Rule(
        "Text alone teaches to draw: the tiny CLIP finds the class in the drawing better than after shuffled texts",
        "families", {**_READ, "image": "without"}, "above", {"variant": CAPTIONS + CONTROL}, ways=("draw",),
    ),
    Rule(
        "Text alone does as well as image + text",
        "families", _READ, "not below", {"mode": "image_text", "variant": MAIN}, ways=_ASKED,
    ),
)  # fmt: skip


def titles() -> dict[str, str]:
    """The name of each member, and of each of the project's own models, in tables and figures."""
    return {**{key: member_class(key).title for key in members()}, **PROJECTS_OWN, "baseline": "no model"}


def family_answers(files: Iterable[Path]) -> pd.DataFrame:
    """The rows of all runs. What is not trained is in the runs of every seed and counts once."""
    rows = read_answers(files)
    same = ["model", "domain", "mode", "variant", "seed", "image", "answering", "question_id"]
    return rows.drop_duplicates(same, ignore_index=True)


def families_table(rows: pd.DataFrame, own: pd.DataFrame | None = None) -> pd.DataFrame:
    """Accuracies in percent with Wilson's intervals, a row per member, domain, mode, variant, way of asking and image.

    ``own``: a Table 1, of which the project's own models are taken; the demo's texts are those of level `TEXTS`.
    """
    found = accuracy_table(rows, by=["model", "domain", "mode", "variant", "answering", "image"])
    if own is not None and len(own):
        mine = own[own["model"].isin(PROJECTS_OWN) & own["mode"].isin(("base", "text_only", "image_text"))]
        mine = mine[mine["answering"].isin((*_ASKED, *_SPEAKS))]
        level = mine["mode"].map({"text_only": TEXTS}).fillna(MAIN)
        found = pd.concat([found, mine.assign(variant=level, image="with")], ignore_index=True)
    names, order = titles(), [*members(), *PROJECTS_OWN, "baseline"]
    found = found.assign(title=found["model"].map(names), family=found["model"].map(_family))
    place = found["model"].map({key: place for place, key in enumerate(order)})
    return found.assign(_place=place).sort_values("_place", kind="stable", ignore_index=True)[_COLUMNS]


def _family(key: str) -> str:
    return "" if key == "baseline" else family_of_member(key)


def in_short(table: pd.DataFrame, domain: str) -> pd.DataFrame:
    """Members down, marks across, in percent: the table of `families_table` for reading and for LaTeX."""
    marks = table[(table["domain"] == domain) & (table["model"] != "baseline")]
    marks = marks.assign(mark=[mark_of(row) for row in marks.to_dict("records")])
    wide = marks.pivot_table(index=["family", "title", "answering"], columns="mark", values="type1", sort=False)
    order = [mark for mark in _marks() if mark in wide]
    return wide[order].reset_index()


def mark_of(row: dict[str, object]) -> str:
    """What a row's accuracy is called where levels stand side by side."""
    words = {"base": "untuned", "by_description": "by description", "image_text": "image + text"}
    kind = words.get(str(row["mode"]), str(row["mode"]).replace("_", " "))
    level, _, control = str(row["variant"]).partition(", ")
    kind = "told in words" if row["image"] == "described" else control or kind
    return kind if level == MAIN else f"{kind}: {level}"


def _marks() -> list[str]:
    asked = ("by description", "dictionary", "text only", "shuffled", "told in words")
    of_level = (*asked, "classifier", "prompt", "inversion")
    return ["untuned", *(f"{kind}: {level}" for level in (CAPTIONS, TEXTS) for kind in of_level), "image + text"]


def family_claims(folder: Path, checked: Verified) -> list[Claim]:
    """Every rule, judged on the contrasts beside the published figure; no claim if there are none."""
    file = folder / f"{FINDINGS}.csv"
    if not file.is_file():
        return []
    doubt = checked.doubt(file)
    table = decided(pd.read_csv(file)) if doubt is None else pd.DataFrame(columns=["claim", "outcome"])
    return [judged(rule, file, doubt, table) for rule in RULES_OF_FAMILIES]
