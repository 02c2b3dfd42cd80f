"""What the ablations show: one rule per finding, judged on the answers of the grids (`config/grids/`, notebook 08).

`helpers.results.rules` says when a rule holds. The rules were written before the numbers were known; a rule that fails
stays. The differences of all grids are corrected together, as they are read together.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from helpers.results.rules import Claim, Rule, decided, told
from helpers.workflow.provenance import portable
from helpers.workflow.verify import Doubt, Verified

_WORDS = ("holds", "holds in part", "does not hold", "open")
_SHOWN = 3  # reasons given for a table that is not judged

TEXT, BOTH, JOINT = ({"mode": mode} for mode in ("text_only", "image_text", "joint"))
_ASKED, _SPEAKS, _KEEPS = ("direct",), ("describe_then_answer",), ("describe_then_answer_image_kept",)
_DIRECT, _DESCRIBE, _KEPT = ({"answering": way} for (way,) in (_ASKED, _SPEAKS, _KEEPS))
_OWN = {"variant": "own descriptions"}
_EQUAL, _TWICE = {"variant": "equal steps"}, {"variant": "twice the steps"}
_WORDS_ALONE, _NAME_ALONE = {"variant": "words as they are"}, {"variant": "name alone in the answer"}
_CHAIN = {"variant": "chain in the answer", "answering": "one_pass_chain"}
_DESCRIBED = {**TEXT, "variant": "the described half"}
_ASIS, _REWORDED = {"variant": "as they are"}, {"variant": "in its own words"}
RULES = (
    Rule(
        "The descriptions matter: with those of other classes, recognition stays at chance",
        "controls", {"variant": "shuffled"}, "at chance",
    ),
    Rule(
        "Appearance matters: background facts alone leave recognition at chance",
        "controls", {"variant": "background only"}, "at chance",
    ),
    Rule(
        "Appearance alone does as well as appearance and background",
        "controls", {"variant": "appearance only"}, "not below", {"variant": "whole text"},
    ),
    Rule(
        "The reversal curse: texts that only go from name to description leave recognition at chance",
        "directions", {"variant": "name to description"}, "at chance",
    ),
    Rule(
        "Description to name alone does as well as both directions",
        "directions", {"variant": "description to name"}, "not below", {"variant": "both"},
    ),
    Rule(
        "After text-only training, the model recognises better if it describes the image first",
        "answering", {**TEXT, **_OWN, **_DESCRIBE}, "above", {**TEXT, **_OWN, **_DIRECT}, ways=_SPEAKS,
    ),
    Rule(
        "The same holds after image-text training (does only text-only training gain?)",
        "answering", {**BOTH, **_OWN, **_DESCRIBE}, "above", {**BOTH, **_OWN, **_DIRECT}, ways=_SPEAKS,
    ),
    Rule(
        "Describing first is no shortcut: with shuffled descriptions, it stays at chance too",
        "answering", {**TEXT, "variant": "shuffled descriptions"}, "at chance",
    ),
    Rule(
        "Texts in other words than the model's own teach as well as texts in its words",
        "dialects", {**TEXT, "variant": "synonyms"}, "not below", {**TEXT, "variant": "captions' words"},
    ),
    Rule(
        "Texts of comparisons teach as well as texts in the model's words",
        "dialects", {**TEXT, "variant": "similes"}, "not below", {**TEXT, "variant": "captions' words"},
    ),
    Rule(
        "Where the words differ, describing first beats a dictionary",
        "dialects", {**TEXT, **_DESCRIBE, "variant": "synonyms"},
        "above", {"mode": "dictionary", **_DIRECT, "variant": "synonyms"}, ways=_SPEAKS,
    ),
    Rule(
        "Where the words differ, it beats the dictionary over reworded texts",
        "dialects", {**TEXT, **_DESCRIBE, "variant": "synonyms"},
        "above", {"mode": "dictionary_translated", **_DIRECT, "variant": "synonyms"}, ways=_SPEAKS,
    ),
    Rule(
        "Reworded by the untuned model itself, texts teach more than as they are",
        "own_words", {**TEXT, **_REWORDED}, "above", {**TEXT, **_ASIS},
    ),
    Rule(
        "Reworded, they beat the dictionary over reworded texts, if the model describes first",
        "own_words", {**TEXT, **_REWORDED, **_DESCRIBE},
        "above", {"mode": "dictionary_translated", **_DIRECT, **_ASIS}, ways=_SPEAKS,
    ),
    Rule(
        "Rewording is no shortcut: reworded descriptions of other classes leave recognition at chance",
        "own_words", {"variant": "in its own words, shuffled"}, "at chance",
    ),
    Rule("Less visual detail in the text means less recognition", "detail", {"x": 0.33}, "below", {"x": 1.0}),
    Rule(
        "Several wordings per description help, at the same number of steps",
        "wordings", {"x": 4.0}, "above", {"x": 1.0},
    ),
    Rule("Half the epochs are enough", "epochs", {"x": 6.0}, "not below", {"x": 12.0}),
    Rule(
        "Besides all texts, images for half of the classes help when the model is asked directly",
        "hybrid", {"mode": "hybrid", "x": 0.5}, "above", {"x": 0.0}, ways=_ASKED,
    ),
    Rule(
        "Images for half of the classes cost nothing when it describes first, though each text is read less often",
        "hybrid", {"mode": "hybrid", "x": 0.5}, "not below", {"x": 0.0}, ways=_SPEAKS,
    ),
    Rule(
        "Text alone does as well as joint training, which has the images and the texts in as many steps, both asked "
        "directly",
        "rival", {**TEXT, **_EQUAL, **_DIRECT}, "not below", {**JOINT, **_EQUAL}, ways=_ASKED,
    ),
    Rule(
        "Text alone does as well as joint training, both describing first",
        "rival", {**TEXT, **_EQUAL, **_DESCRIBE}, "not below", {**JOINT, **_EQUAL}, ways=_SPEAKS,
    ),
    Rule(
        "The same beside joint training in twice the steps, which reads and sees everything as often",
        "rival", {**TEXT, **_EQUAL, **_DESCRIBE}, "not below", {**JOINT, **_TWICE}, ways=_SPEAKS,
    ),
    Rule(
        "Joint training does as well as image + text, both asked directly: in as many steps, the texts cost nothing",
        "rival", {**JOINT, **_EQUAL, **_DIRECT}, "not below", BOTH, ways=_ASKED,
    ),
    Rule(
        "Joint training is better than image + text if both describe first",
        "rival", {**JOINT, **_EQUAL, **_DESCRIBE}, "above", BOTH, ways=_SPEAKS,
    ),
    Rule(
        "Image + text gains from describing first if its second prompt keeps the image",
        "rival", {**BOTH, **_KEPT}, "above", {**BOTH, **_DIRECT}, ways=_KEEPS,
    ),
    Rule(
        "Text alone needs its second prompt without the image: kept, it is worse",
        "rival", {**TEXT, **_KEPT}, "below", {**TEXT, **_DESCRIBE}, ways=_KEEPS,
    ),
    Rule(
        "4-bit base weights cost no accuracy",
        "methods", {**TEXT, "variant": "QLoRA"}, "not below", {**TEXT, "variant": "LoRA"},
    ),
    Rule(
        "Prompt tuning learns the classes as well as LoRA does, at LoRA's own settings",
        "methods", {**TEXT, "variant": "prompt tuning"}, "not below", {**TEXT, "variant": "LoRA"},
    ),
    Rule(
        "The projector alone cannot learn the classes, even from images",
        "methods", {**BOTH, "variant": "projector alone"}, "at chance",
    ),
    Rule("A rank of 4 is enough", "ranks", {"x": 4.0}, "not below", {"x": 16.0}),
    Rule(
        "Look-alike distractors are harder than random ones",
        "distractors", {**TEXT, "variant": "look-alikes"}, "below", {**TEXT, "variant": "drawn at random"},
    ),
    Rule(
        "Nothing carries over to classes that training never mentioned: among the names that it never mentioned, "
        "recognition is no better than chance",
        "transfer", {**TEXT, "variant": "the other half"}, "not above", names="among untrained",
        trained=_DESCRIBED,
        contrary="Something carries over to classes that training never mentioned: among the names that it never "
        "mentioned, recognition is better than chance",
    ),
    Rule(
        "Asked about a class that training never mentioned, the model has no bias to the names that it did mention",
        "transfer", {**TEXT, "variant": "the other half"}, "not above", names="trained chosen", trained=_DESCRIBED,
        contrary="Asked about a class that training never mentioned, the model has a bias to the names that it did "
        "mention: it chooses one more often than one is offered",
    ),
    Rule(
        "An image of another class is no better than none",
        "images", {**TEXT, "image": "other"}, "not above", {**TEXT, "image": "without"},
    ),
    Rule(
        "Text in words that the base model never practised reading leaves recognition at chance",
        "practice", {**TEXT, "image": "with", "variant": "two lessons"}, "at chance",
    ),
    Rule(
        "After the lesson in which it reads such words, the same text teaches more",
        "practice", {**TEXT, "image": "with", "variant": "three lessons"},
        "above", {**TEXT, "image": "with", "variant": "two lessons"},
    ),
    Rule(
        "Noise on the words of a description, in training, helps when the model is asked directly",
        "bridge", {"variant": "noise"}, "above", _WORDS_ALONE, ways=("direct",),
    ),
    Rule(
        "Words moved towards images, in training, help when the model is asked directly",
        "bridge", {"variant": "shift"}, "above", _WORDS_ALONE, ways=("direct",),
    ),
    Rule(
        "With shift and noise, asked directly does as well as describing first without them",
        "bridge", {"variant": "shift and noise", **_DIRECT}, "not below", {**_WORDS_ALONE, **_DESCRIBE},
        ways=("direct",),
    ),
    Rule(
        "Description and name in one reply recognise better than asking directly",
        "chain", _CHAIN, "above", {**_NAME_ALONE, **_DIRECT}, ways=("one_pass_chain",),
    ),
    Rule(
        "Description and name in one reply do as well as describing first and asking again",
        "chain", _CHAIN, "not below", {**_NAME_ALONE, **_DESCRIBE}, ways=("one_pass_chain",),
    ),
)  # fmt: skip


def findings(folder: Path, checked: Verified) -> list[Claim]:
    """Every rule, judged on the grids' contrasts in a run's folder or in a folder of published figures.

    "not measured" without a table or matching rows; not judged if the table is stale or unrecorded. A rule that the
    answers rule out is told as its contrary, if it has one.
    """
    files = {grid: _contrasts(folder, grid) for grid in dict.fromkeys(rule.grid for rule in RULES)}
    doubts = {grid: doubt for grid, file in files.items() if file and (doubt := checked.doubt(file))}
    read = [pd.read_csv(file) for grid, file in files.items() if file and grid not in doubts]
    table = decided(pd.concat(read, ignore_index=True)) if read else pd.DataFrame(columns=["claim", "outcome"])
    return [judged(rule, files[rule.grid], doubts.get(rule.grid), table) for rule in RULES]


def _contrasts(folder: Path, grid: str) -> Path | None:
    """Where notebook 08 left the contrasts of a grid's rules: in the run, or published."""
    name = f"{grid}_findings.csv"
    places = (folder / "grids" / grid / "figures", folder / "ablations", folder / "findings")
    return next((place / name for place in places if (place / name).is_file()), None)


def judged(rule: Rule, file: Path | None, doubt: Doubt | None, table: pd.DataFrame) -> Claim:
    """What became of a rule: ``table`` holds the decided contrasts of ``file``."""
    if file is None:
        return Claim(rule.claim, "not measured", (), "")
    if doubt:
        return withheld(rule.claim, doubt, str(portable(file)))
    rows = table[table["claim"] == rule.claim]
    return Claim(*told(rule, rows, _WORDS), str(portable(file)))


def withheld(claim: str, doubt: Doubt, file: str) -> Claim:
    """A claim that is not judged because its table is stale or unrecorded. The reasons stand in for evidence."""
    return Claim(claim, f"not judged: {doubt.status}", reasons_shown(doubt.reasons), file)


def reasons_shown(reasons: Sequence[str]) -> tuple[str, ...]:
    """The first reasons, and how many more there are."""
    more = len(reasons) - _SHOWN
    return (*reasons[:_SHOWN], *([f"and {more} more"] if more > 0 else []))
