"""What README and the other documents name is there: files, commands, modules, settings, parameters, quoted numbers."""

import importlib.util
import itertools
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from helpers import paths
from helpers.config.profiles import Profile
from helpers.paths import ROOT
from helpers.results.claims import verdicts_in_short
from helpers.workflow import notebooks
from helpers.workflow.verify import verify

CURRENT = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "REPRODUCTION.md", "data/README.md"]
DOCUMENTS = CURRENT + sorted(str(file.relative_to(ROOT)) for file in (ROOT / "docs").glob("*.md"))
NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
EXECUTED = paths.NOTEBOOKS / "executed"
SCRIPT = (ROOT / "run_all.sh").read_text(encoding="utf-8")
WORDS, OPTIONS = (re.search(rf'^{name}="(.+)"$', SCRIPT, re.MULTILINE)[1].split() for name in ("WORDS", "OPTIONS"))
# Names that an example makes up, and what a reader brings along
MADE_UP = {"config/profiles/mine.yaml", "data/own/mushrooms", "data/kviscuit", "mine"}
PLACEHOLDER = re.compile(r"[<>*{}…]|\b[A-Z]{2,}\b")

every_document = pytest.mark.parametrize("document", DOCUMENTS)


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def code_of(text: str) -> list[str]:
    """What stands in backticks, and the lines of blocks of code; a line that ends in a backslash goes on."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"(?:^    \S.*\n)+", text, re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [" ".join(piece.split()) for piece in lines + inline]


def commands_of(text: str, program: str) -> list[list[str]]:
    """The words after ``program`` wherever a piece of code calls it; what follows a comment sign is left out."""
    calls = [piece[piece.index(program) + len(program) :] for piece in code_of(text) if program in piece]
    return [shlex.split(re.split(r" &&|;| \|", call)[0], comments=True) for call in calls]


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub gives the headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def parameters_of(notebook: str) -> list[str]:
    return notebooks.declared_parameters(ROOT / notebook)


# ---- files ---------------------------------------------------------------------------------------------------------


@every_document
def test_a_link_leads_to_a_file_and_to_a_heading_of_it(document):
    text = text_of(document)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in (link for link in links if not re.match(r"[a-z]+:", link)):
        name, _, anchor = link.partition("#")
        file = (ROOT / document).parent / name if name else ROOT / document
        if file.resolve().is_relative_to(EXECUTED) and not EXECUTED.is_dir():
            assert (paths.NOTEBOOKS / file.name).is_file(), f"{link}: no notebook has that name"
            continue  # executed copies are published from a finished run
        assert file.exists(), f"{document} links to {link}"
        assert not anchor or anchor in anchors_of(file.read_text(encoding="utf-8")), f"{document} links to {link}"


@every_document
def test_a_path_in_code_is_there(document):
    folders = {file.name for file in ROOT.iterdir() if file.is_dir()} - {"runs", ".git"}
    pieces = [word.strip(".,:;'\"()") for piece in code_of(text_of(document)) for word in piece.split()]
    named = {word for word in pieces if word.partition("/")[0] in folders and "/" in word}
    named |= {word.partition("=")[2] for word in pieces if word.partition("=")[2].partition("/")[0] in folders}
    for name in sorted(named):
        if (
            PLACEHOLDER.search(name.replace("README", ""))
            or name in MADE_UP
            or name.rstrip("/") == "notebooks/executed"
        ):
            continue
        assert (ROOT / name.partition("::")[0]).exists(), f"{document} names {name}"


def test_the_readme_has_a_row_per_notebook_with_its_executed_copy():
    rows = re.findall(r"^\| \[[^]]+\]\(notebooks/([^)]+)\) \| ([^|]+) \| [^|]+ \|$", text_of("README.md"), re.MULTILINE)
    assert [name for name, _ in rows] == [notebook.name for notebook in NOTEBOOKS]
    unlinked = [name for name, copy in rows if f"(notebooks/executed/{name})" not in copy]
    assert unlinked == ["appendix_base_models.ipynb"]  # takes hours, so no copy of it is published


def test_the_readme_is_short():
    assert len(text_of("README.md").split()) <= 900


# ---- commands ------------------------------------------------------------------------------------------------------


OF_THEIR_OWN = {  # options, by word
    "ask": ["--options", "--run", "--model", "--domain", "--mode", "--seed", "--adapter"],
    "push": ["--to", "--public", "--yes"],
    "pack": ["--check", "--out"],
}


@every_document
def test_a_word_an_option_and_what_they_name_are_known_to_run_all(document):
    for call in commands_of(text_of(document), "./run_all.sh"):
        given = call[: call.index("--")] if "--" in call else call
        assert not given or given[0].startswith("-") or given[0] in WORDS, f"{document}: ./run_all.sh {given[0]}"
        known = OF_THEIR_OWN.get(given[0] if given else "", OPTIONS)
        assert [word for word in given if word.startswith("--") and word not in known] == [], document
        for option, value in itertools.pairwise(given):
            if option == "--profile" and value not in MADE_UP:
                assert (paths.PROFILES / f"{value}.yaml").is_file(), f"{document}: --profile {value}"
            if option == "grid" and not PLACEHOLDER.search(value):
                assert (paths.GRIDS / f"{value}.yaml").is_file(), f"{document}: grid {value}"


@every_document
def test_a_target_of_the_workflow_is_one_of_its_steps(document):
    targets = re.findall(r"--(?:until|slurm-array-jobs|forcerun)[ =]([\w,]+)", text_of(document))
    assert {name for target in targets for name in target.split(",")} <= paths.STEPS.keys()


@every_document
def test_a_module_that_is_named_exists_and_one_that_is_called_can_be_run(document):
    text = text_of(document)
    for call in commands_of(text, "python -m helpers"):
        source = importlib.util.find_spec(f"helpers{call[0]}").origin
        assert '__name__ == "__main__"' in Path(source).read_text(encoding="utf-8"), f"{document}: helpers{call[0]}"
    for name in re.findall(r"\bhelpers(?:\.\w+)+", text):
        assert importlib.util.find_spec(name), f"{document}: {name}"


@every_document
def test_a_setting_has_a_field(document):
    groups = {name: field.annotation for name, field in Profile.model_fields.items()}
    for group, name in re.findall(
        r"(?<![\w/.])(data|build|writer|training|evaluation|jobs)\.([a-z_]+)\b(?![/(])", text_of(document)
    ):
        if name not in ("csv", "json", "py", "yaml"):
            assert name in groups[group].model_fields, f"{document}: {group}.{name}"


@every_document
def test_papermill_is_given_parameters_that_the_notebook_has(document):
    for call in commands_of(text_of(document), "papermill "):
        source = next((word for word in call if word.startswith("notebooks/")), None)
        if source is None:
            continue
        named = [value for flag, value in itertools.pairwise(call) if flag == "-p"]
        named += [
            key for flag, value in itertools.pairwise(call) if flag == "-y" for key in re.findall(r"(\w+):", value)
        ]
        assert set(named) <= set(parameters_of(source)), f"{document}: papermill {source}"


def test_the_line_to_change_stands_in_the_notebook():
    line = re.search(r"```text\n(.+)\n```", text_of("docs/notebooks.md"))[1]
    cells = [cell["source"] for cell in notebooks.code_cells(paths.NOTEBOOKS / "03_qlora_finetuning.ipynb")]
    assert any(line in cell for cell in cells)


def test_contributing_lists_every_package():
    packages = {file.parent.name for file in (ROOT / "src/helpers").glob("*/__init__.py")}
    rows = re.findall(r"^\| (`.+?) \|", text_of("CONTRIBUTING.md"), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == packages | {
        "paths",
        "rows",
        "images",
        "schemas",
    }


# ---- numbers -------------------------------------------------------------------------------------------------------

TABLE = pd.read_csv(ROOT / "figures/demo/table1.csv").set_index(["model", "mode", "answering", "domain"])


def quoted(row: pd.Series, *types: str) -> list[str]:
    return [f"{row[k]:.1f} [{row[f'{k}_low']:.1f}, {row[f'{k}_high']:.1f}]" for k in types]


def test_the_readme_quotes_the_verdicts():
    folder = ROOT / "figures/demo"
    remedy = "put the lines of `python -m helpers.results.claims figures/demo --short` into README.md"
    assert all(line in text_of("README.md") for line in verdicts_in_short(folder, verify([folder]))), remedy


@pytest.mark.parametrize(
    ("mode", "words"), [("base", "nothing (untuned)"), ("text_only", "text only"), ("image_text", "image + text")]
)
def test_the_readme_quotes_a_row_of_table_1(mode, words):
    cells = [
        *(
            quoted(TABLE.loc["qwen2_vl", mode, answering, "butterfly"], "type1")[0]
            for answering in ("direct", "describe_then_answer")
        )
    ]
    assert f"| {words} | {' | '.join(cells)} |" in text_of("README.md")
