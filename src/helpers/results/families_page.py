"""docs/families.md: `python -m helpers.results.families_page > docs/families.md`

The survey's map: each system's idea in three sentences, how faithful it is here, what came out. Words come from the
members, numbers from the published table; systems that are not here say where they stand.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from helpers.config.families import CAPTIONS, CONTROL, TEXTS
from helpers.families.registry import FAMILIES, member_class
from helpers.paths import FIGURES, MAIN
from helpers.results.figures.style import label

PUBLISHED_TABLE = FIGURES / "families" / "families.csv"
_HEADINGS = {
    "contrastive": "A shared space: what belongs together lies together",
    "masked": "Masked words and images: fill in what is hidden",
    "generative": "Generative: say it, draw it, or both",
    "backbone": "Pretrained backbones: a language model that is shown images",
}
_EXPECTED = {  # percent of text only in the captions' words, stated before any measurement: direct, describing first
    **dict.fromkeys(("clip", "siglip", "llip"), (90, None)),
    "flava": (75, None),
    "frozen": (None, 40),
    **dict.fromkeys(("chameleon", "minigpt_4", "blip_2", "qwen_vl", "llava", "llava_1_5", "mllama"), (45, 60)),
}


@dataclass(frozen=True)
class Elsewhere:
    """A system of the survey that is no member, and where it stands."""

    title: str
    family: str
    idea: str
    where: str
    source: str = ""


_INTRODUCTION = """# Families of vision-language models

Made by `python -m helpers.results.families_page > docs/families.md`; no number is typed by hand.

The survey [An Introduction to Vision-Language Modeling](https://arxiv.org/abs/2405.17247) sorts models by how they are
trained. Here each answers one question in one form: trained on texts about classes that it has never seen, does it
recognise them in images? `./run_all.sh families` runs all of it; notebook `14` shows one member, notebook `15` all of
them. Accuracies are percent of four options (chance 25). *Captions* are texts in the words of the images' captions,
*texts* those of the demo, in other words; *shuffled* is the control, in which every name has another class's
description. All models are tiny, and know nothing but the drawn world. Early systems built on BERT stand among the
masked ones, where their objective puts them."""
_HEAD = "| domain, asked | n | untuned | by description | text only: captions (shuffled) | texts (shuffled) |"
_LATER = "Not built yet."
ELSEWHERE = (
    Elsewhere(
        "LLaVA-NeXT",
        "backbone",
        "LLaVA with tiles: the image is also cut into pieces that the tower sees one by one. A small network turns all "
        "features into tokens of a language model. The model then answers in words.",
        "One of the project's two models from the beginning; its rows are those of Table 1.",
        "2310.03744",
    ),
    Elsewhere(
        "Qwen2-VL",
        "backbone",
        "Images keep their own size and become more or fewer tokens. Positions count height, width and time apart. A "
        "language model reads the tokens among its words.",
        "One of the project's two models from the beginning; its rows are those of Table 1.",
        "2409.12191",
    ),
    Elsewhere(
        "VisualBERT",
        "masked",
        "Words and regions of an image go through one BERT together. Hidden words are to be found from both. A second "
        "task tells right from wrong captions.",
        "Its relative VL-BERT stands for it; a prototype stayed at chance.",
        "1908.03557",
    ),
    Elsewhere(
        "VideoBERT",
        "masked",
        "Clips become words by clustering their features. One BERT reads the words of the clip and of what is said. "
        "Hidden words of both kinds are to be found.",
        f"{_LATER} Clips need a world that moves.",
        "1904.01766",
    ),
    Elsewhere(
        "Video-LLaMA and MiniGPT4-Video",
        "backbone",
        "Frames go through an image encoder one by one. Their tokens, with their place in time, go to a language "
        "model. Sound or subtitles stand between them.",
        f"{_LATER} Clips need a world that moves.",
        "2306.02858",
    ),
    Elsewhere(
        "Kosmos-2",
        "backbone",
        "Places in the image are words of the language model. A phrase is followed by the box of what it means. So the "
        "model points at what it speaks of.",
        f"{_LATER} Scenes here show one thing, so that there is no place to find.",
        "2306.14824",
    ),
    Elsewhere(
        "LLaVAR",
        "backbone",
        "LLaVA trained on images that hold text. What a recogniser reads in them becomes questions and answers. The "
        "model learns to read.",
        f"{_LATER} Nothing is lettered in the drawn world.",
        "2306.17107",
    ),
    Elsewhere(
        "Monkey",
        "backbone",
        "A large image is seen through windows. Each window has its own small change of the tower's weights. A shared "
        "resampler makes few tokens of all.",
        f"{_LATER} The images here are no larger than one window.",
        "2311.06607",
    ),
)


def as_page(table: pd.DataFrame) -> str:
    """The page as Markdown; ``table``: the published one, or an empty one."""
    lines = [_INTRODUCTION]
    for family, members in FAMILIES.items():
        lines += ["", f"## {_HEADINGS[family]}"]
        for key in members:
            lines += _member(key, table)
        for system in (system for system in ELSEWHERE if system.family == family):
            lines += ["", f"### {system.title}", "", f"{system.idea}{_cited(system.source)}", "", system.where]
    return "\n".join(lines) + "\n"


def _cited(source: str) -> str:
    return f" ([arXiv {source}](https://arxiv.org/abs/{source}))" if source else ""


def _member(key: str, table: pd.DataFrame) -> Iterator[str]:
    kind = member_class(key)
    yield from (
        "",
        f"### {kind.title}",
        "",
        f"{kind.idea}{_cited(kind.source)}",
        "",
        f"*Faithful:* {kind.faithful}",
        "",
    )
    rows = table[table["model"] == key] if len(table) else table
    yield from _came_out(rows) if len(rows) else ("*Came out:* not published yet.",)
    direct, describing = _EXPECTED.get(key, (None, None))
    wanted = [f"{least} {how}" for least, how in ((direct, "directly"), (describing, "describing first")) if least]
    if wanted:
        yield from ("", f"*Expected beforehand*, text only in captions' words: at least {' and '.join(wanted)}.")


def _came_out(rows: pd.DataFrame) -> Iterator[str]:
    """A table of what was measured, a line per domain and way of asking."""
    yield f"{_HEAD} image + text |"
    yield "|---|---|---|---|---|---|---|"
    for (domain, answering), group in rows.groupby(["domain", "answering"], sort=False):
        cells = [_percent(group, "base", MAIN), _percent(group, "by_description", CAPTIONS)]
        for level in (CAPTIONS, TEXTS):
            shuffled = _percent(group, "text_only", level + CONTROL)
            cells.append(f"{_percent(group, 'text_only', level)} ({shuffled})")
        cells.append(_percent(group, "image_text", MAIN))
        yield f"| {label(str(domain))}, {label(str(answering))} | {int(group['n_type1'].max())} | {' | '.join(cells)} |"


def _percent(rows: pd.DataFrame, mode: str, variant: str) -> str:
    found = rows[(rows["mode"] == mode) & (rows["variant"] == variant) & (rows["image"] != "described")]
    return f"{found['type1'].iloc[0]:.1f}" if len(found) else "–"


def main(arguments: Sequence[str] = ()) -> None:
    """Print the page."""
    table = pd.read_csv(PUBLISHED_TABLE, keep_default_na=False, na_values=[""]) if PUBLISHED_TABLE.is_file() else None
    sys.stdout.write(as_page(pd.DataFrame({"model": []}) if table is None else table))


if __name__ == "__main__":
    main()
