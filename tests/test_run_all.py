"""run_all.sh, with stand-ins for every Python: what it says, what it refuses, and that it leaves nothing behind."""

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from snakemake.cli import parse_config

from helpers.config.profiles import parse_overrides
from helpers.paths import ROOT

SCRIPT = (ROOT / "run_all.sh").read_text(encoding="utf-8")
WORDS = re.search(r'^WORDS="(.+)"$', SCRIPT, re.MULTILINE)[1].split()
OPTIONS = re.search(r'^OPTIONS="(.+)"$', SCRIPT, re.MULTILINE)[1].split()
PYTHONS = ("python3", "python3.13", "python3.12", "python3.11")
FILES = (
    "run_all.sh",
    "requirements.txt",
    "requirements.hashes.txt",
    "requirements.photographs.txt",
    "requirements.in",
    "pyproject.toml",
    "config/profiles/demo.yaml",
    "config/profiles/own.yaml",
    "config/profiles/paper.yaml",
    "config/profiles/real_sample.yaml",
)

# Answers the questions that run_all.sh has for a Python, and notes everything else that it is called with.
PYTHON = """#!/bin/sh
case "$*" in
    *python_version*) echo {version} ;;
    *"import ensurepip"*) exit {venv_missing} ;;
    *"import helpers"*) echo "{helpers}" ;;
    *helpers.config.grids\\ run*) echo the-run; printf '%s\\0' "$@" >>"$CALLS" ;;
    *helpers.config.grids\\ list*) echo bridge chain; printf '%s\\0' "$@" >>"$CALLS" ;;
    *) printf '%s\\0' "$@" >>"$CALLS" ;;
esac
case "$*" in
    *"pip install"*) echo "{pip_says}"; exit {pip_fails} ;;
esac
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


class Clone:
    """A copy of the files that run_all.sh reads, on a machine whose Pythons are stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.calls = folder / "a clone", folder / "bin", folder / "calls"
        self.environment = folder / "active"
        for file in FILES:
            (self.root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, self.root / file)
        for name in PYTHONS:
            self.python(self.bin / name)
        self.python(self.environment / "bin/python")
        self.before = self.files()

    def python(self, path: Path, **answers: object) -> None:
        usual = {"version": "3.12.4", "venv_missing": 0, "helpers": "", "pip_says": "", "pip_fails": 0}
        executable(path, PYTHON.format(**(usual | answers)))

    def files(self) -> set[Path]:
        return set(self.root.rglob("*"))

    def run(self, *arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV" and not k.startswith("CONDA")}
        own = {"PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", "CALLS": str(self.calls)}
        return subprocess.run(
            [self.root / "run_all.sh", *arguments],
            env=kept | own | variables,
            cwd=cwd or self.root,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def run_active(self, *arguments: str, **others: Any) -> subprocess.CompletedProcess[str]:
        return self.run(*arguments, VIRTUAL_ENV=str(self.environment), **others)

    def called(self) -> list[str]:
        """The arguments of all calls of a Python, and forget them."""
        text = self.calls.read_text(encoding="utf-8") if self.calls.exists() else ""
        self.calls.unlink(missing_ok=True)
        return text.split("\0")[:-1]

    def refuses(self, result: subprocess.CompletedProcess[str], message: str) -> None:
        assert result.stderr.startswith(f"error: {message}"), result.stderr
        assert result.returncode == 2
        assert self.files() == self.before


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


# ---- what it says


def test_help_explains_every_word_and_option_and_fits_a_terminal(clone: Clone) -> None:
    result = clone.run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert [word for word in WORDS if not re.search(rf"^  {word}  +\S", result.stdout, re.MULTILINE)] == []
    assert [option for option in OPTIONS if option not in result.stdout] == []
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_dry_run_changes_nothing(clone: Clone) -> None:
    result = clone.run("--dry-run")
    assert result.returncode == 0, result.stderr
    assert "making .venv with python3 (Python 3.12.4)" in result.stdout
    assert "running 'all' with profile demo in runs/demo" in result.stdout
    assert clone.files() == clone.before


# ---- what it refuses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demmo"], f"unknown word 'demmo'; known: {' '.join(WORDS)}"),
        ([""], "unknown word ''"),
        (["demo smoke"], "unknown word 'demo smoke'"),
        (["demo", "smoke"], "one word at a time, not both 'demo' and 'smoke'"),
        (["--fast"], f"unknown option '--fast'; known: {' '.join(OPTIONS)}"),
        (["-n"], "unknown option '-n'"),
        (["--profile"], "--profile needs a value, as in: --profile demo"),
        (["--profile", "../demo"], "--profile cannot be '../demo'"),
        (["--profile=nowhere"], "unknown profile 'nowhere': there is no config/profiles/nowhere.yaml; found: demo "),
        (["--jobs", "0"], "--jobs cannot be '0'; it is given as in: --jobs 2"),
        (["--jobs", "two"], "--jobs cannot be 'two'"),
        (["grid", "methods", "--only", "seed 0"], "--only cannot be 'seed 0'; it is given as in: --only seed0"),
        (
            ["demo", "--only", "seed0"],
            "--only takes some runs of a grid, as in: ./run_all.sh grid methods --only seed0",
        ),
        (["demo", "--all"], "--all is for the tests: ./run_all.sh test --all"),
        (["--name", "a/b"], "--name cannot be 'a/b'; it is given as in: --name longer"),
        (["--set", "epochs"], "--set cannot be 'epochs'; it is given as in: --set training.epochs=10"),
        (["--set", "=3"], "--set cannot be '=3'"),
        (["demo", "--from", "figures/demo"], "--from is for figures, as in: ./run_all.sh figures table1 --from"),
        (["figures", "--to", "here"], "--to and --style go with --from"),
    ],
)
def test_unreadable_arguments_are_refused(clone: Clone, arguments: list[str], message: str) -> None:
    clone.refuses(clone.run(*arguments), message)


@pytest.mark.parametrize("asked", ["paper", "demo --profile=real_sample", "figures --profile=paper"])
def test_data_that_no_clone_brings_along_is_missed_before_anything_is_installed(clone: Clone, asked: str) -> None:
    arguments = asked.split()
    profile = arguments[-1].removeprefix("--profile=")
    refused = clone.run(*arguments)
    clone.refuses(refused, f"profile {profile} reads K-VISCUIT from data/kviscuit, which is not there. Put the folder")
    for given in ("github.com/ddehun/k-viscuit", "--set domains.kviscuit.path=ddehun/k-viscuit"):
        assert given in refused.stderr
    elsewhere = clone.run_active(*arguments, "--set", "domains.kviscuit.path=elsewhere")
    assert elsewhere.returncode == 0  # the workflow looks there
    (clone.root / "data/kviscuit").mkdir(parents=True)
    assert clone.run_active(*arguments).returncode == 0


@pytest.mark.parametrize("minor", range(9, 17))
def test_python_is_accepted_exactly_in_the_range_of_pyproject(clone: Clone, minor: int) -> None:
    version = f"3.{minor}.1"
    for name in PYTHONS:
        clone.python(clone.bin / name, version=version)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    result = clone.run("setup", "--dry-run")
    if version in SpecifierSet(project["requires-python"]):
        assert f"making .venv with python3 (Python {version})" in result.stdout
    else:
        clone.refuses(result, f"no suitable Python: python3 is {version}; ")
        assert "Python 3.11.5 to 3.13 is needed. Install one" in result.stderr


def test_newest_suitable_python_is_taken_where_python3_is_not(clone: Clone) -> None:
    clone.python(clone.bin / "python3", version="3.14.0")
    clone.python(clone.bin / "python3.13", version="")  # a name without a Python behind it, as version managers leave
    assert "making .venv with python3.12 " in clone.run("setup", "--dry-run").stdout


def test_python_without_venv_is_passed_over_and_explained(clone: Clone) -> None:
    clone.python(clone.bin / "python3", venv_missing=1)
    assert "making .venv with python3.13 " in clone.run("setup", "--dry-run").stdout
    for name in PYTHONS:
        clone.python(clone.bin / name, venv_missing=1)
    clone.refuses(clone.run("setup"), "no suitable Python: python3 is 3.12.4, but lacks the venv module (on Debian:")


def test_disk_without_room_is_refused(clone: Clone) -> None:
    gigabytes = 3
    executable(clone.bin / "df", f"#!/bin/sh\necho header\necho disk 0 0 {gigabytes * 2**20 + 5} 1% /\n")
    clone.refuses(clone.run(), f"the disk of {clone.root} has 3 GB free, a new environment needs 6 GB. Make room")


def test_unsuitable_active_environment_is_refused(clone: Clone) -> None:
    clone.python(clone.environment / "bin/python", version="3.10.2")
    clone.refuses(
        clone.run_active(), f"the active environment {clone.environment} has a Python that is 3.10.2; 3.11.5 to 3.13"
    )


def test_active_environment_that_is_gone_is_refused(clone: Clone) -> None:
    clone.refuses(clone.run(VIRTUAL_ENV="/gone"), "the active environment /gone has a Python that is broken;")


def test_environment_of_another_clone_is_refused_unless_it_is_taken_over(clone: Clone) -> None:
    other = clone.root.parent / "another clone"
    other.mkdir()
    clone.python(clone.environment / "bin/python", helpers=f"{other}/src/helpers")
    refused = clone.run_active("test")
    clone.refuses(refused, f"the active environment {clone.environment} belongs to another clone, {other}, whose")
    assert "Deactivate it, and .venv will be made here; or take it over: TAKE_OVER=yes ./run_all" in refused.stderr
    assert clone.called() == []
    assert clone.run("setup", VIRTUAL_ENV=str(clone.environment), TAKE_OVER="yes").returncode == 0
    clone.python(clone.environment / "bin/python", helpers=f"{clone.root}/src/helpers")
    assert clone.run_active("setup").returncode == 0


# ---- what it uses


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_active_environment_is_respected(clone: Clone, variable: str) -> None:
    result = clone.run("setup", **{variable: str(clone.environment)})
    assert f"using the active environment {clone.environment} (Python 3.12.4)" in result.stdout
    assert clone.files() == clone.before


def test_what_other_programs_set_for_their_python_and_shell_stops_nothing(clone: Clone) -> None:
    """CDPATH makes cd print; with PYTHONHOME, which some programs set, no other Python starts."""
    variables = ("PYTHONHOME", "PYTHONSTARTUP", "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONIOENCODING")
    noted = " ".join(f"${{{name}-none}}" for name in (*variables, "PYTHONUTF8", "PYTHONSAFEPATH"))
    executable(clone.environment / "bin/python", f'#!/bin/sh\necho 3.12.4\necho {noted} >"$CALLS"\n')
    others = dict.fromkeys(variables, "other") | {"CDPATH": ".", "VIRTUAL_ENV": str(clone.environment)}
    result = subprocess.run(
        ["bash", f"{clone.root.name}/run_all.sh", "test"],
        cwd=clone.root.parent,
        env=os.environ | others | {"CALLS": str(clone.calls)},
        check=False,
    )
    assert (result.returncode, clone.calls.read_text()) == (0, "none none none none none 1 1\n")


def test_base_environment_of_conda_is_left_alone(clone: Clone) -> None:
    result = clone.run("setup", "--dry-run", CONDA_PREFIX=str(clone.environment), CONDA_DEFAULT_ENV="base")
    assert "making .venv" in result.stdout


def test_own_environment_is_used_unless_it_was_made_elsewhere(clone: Clone) -> None:
    clone.python(clone.root / ".venv/bin/python")
    activate = clone.root / ".venv/bin/activate"
    activate.write_text(f"VIRTUAL_ENV={clone.root}/.venv\n", encoding="utf-8")
    assert "using .venv (Python 3.12.4)" in clone.run("setup", "--dry-run").stdout
    activate.write_text("VIRTUAL_ENV=/elsewhere/.venv\n", encoding="utf-8")
    assert "making .venv" in clone.run("setup", "--dry-run").stdout


def test_nothing_is_installed_again_until_the_lock_changes(clone: Clone) -> None:
    assert clone.run_active("setup").returncode == 0
    assert "requirements.txt" in clone.called()
    assert clone.run_active("setup").returncode == 0
    assert clone.called() == []
    with (clone.root / "requirements.txt").open("a", encoding="utf-8") as file:
        file.write("six==1.17.0\n")
    assert clone.run_active("setup").returncode == 0
    assert "requirements.txt" in clone.called()


def test_failed_installation_is_shown_and_tried_again(clone: Clone) -> None:
    python = clone.environment / "bin/python"
    clone.python(python, pip_says="No matching distribution found for torch==2.13.0", pip_fails=1)
    for _ in range(2):
        result = clone.run_active("setup")
        assert result.returncode == 2
        assert result.stderr.startswith("No matching distribution found for torch==2.13.0\nerror: this failed")
    clone.python(python)
    assert clone.run_active("setup").returncode == 0


# ---- what it calls


def config_of(arguments: list[str]) -> list[str]:
    """What Snakemake is given behind --config, up to the target."""
    return arguments[arguments.index("--config") + 1 : arguments.index("--")]


def settings_of(arguments: list[str]) -> str:
    """The settings as the Snakefile gets them from Snakemake's own reader."""
    (text,) = parse_config([config_of(arguments)[-1]])["set"]
    return str(text)


@pytest.mark.parametrize(
    ("word", "target", "config"),
    [
        ("demo", "all", ["profile=demo"]),
        ("base-models", "base_models", ["profile=demo"]),
        ("report", "report", ["profile=demo"]),
        ("families", "families_table", ["profile=demo"]),
        ("publish", "publish", ["profile=demo", "set=[\"'seeds=[0,1,2]' \"]"]),
    ],
)
def test_word_becomes_a_target_of_the_workflow(clone: Clone, word: str, target: str, config: list[str]) -> None:
    assert clone.run_active(word).returncode == 0
    called = clone.called()
    assert called[called.index("--") + 1] == target
    assert config_of(called) == config


def test_figures_are_drawn_from_published_tables_without_the_workflow(clone: Clone) -> None:
    asked = ("figures", "table1", "--from", "figures/demo", "--to", "/paper", "--style", "/paper/style.yaml")
    assert clone.run_active(*asked).returncode == 0
    called = clone.called()
    assert called[called.index("helpers.results.figures.redraw") :] == [
        *(
            "helpers.results.figures.redraw",
            "table1",
            "--from",
            "figures/demo",
            "--to",
            "/paper",
            "--style",
            "/paper/style.yaml",
        )
    ]
    assert "snakemake" not in called
    assert "then: figures table1" in clone.run_active(*asked, "--dry-run").stdout


def test_one_figure_of_a_run_is_asked_for_by_its_name(clone: Clone) -> None:
    refused = clone.run_active("figures", "table1", "--name", "x")
    clone.refuses(refused, "there is no runs/the-run to draw from")
    assert "./run_all.sh figures table1 --from figures/demo" in refused.stderr
    clone.called()
    (clone.root / "runs/the-run").mkdir(parents=True)
    assert clone.run_active("figures", "table1", "--name", "x").returncode == 0
    called = clone.called()
    at = called.index("helpers.results.figures.redraw")
    assert called[at : at + 4] == ["helpers.results.figures.redraw", "table1", "--made-in", "runs/the-run"]
    assert "--force" in called and "snakemake" in called


@pytest.mark.parametrize(
    ("word", "target"),
    [("demo", "all"), ("figures", "figures"), ("report", "report"), ("publish", "publish publish_families")],
)
def test_a_changed_run_is_found_and_named_by_its_settings(clone: Clone, word: str, target: str) -> None:
    result = clone.run_active(word, "--set", "training.epochs=3", "--name", "longer")
    assert f"running '{target}' with profile demo in runs/the-run" in result.stdout
    assert "results and figures are in runs/the-run" in result.stdout
    called = clone.called()
    asked = called[called.index("helpers.config.grids") :]
    assert asked[:6] == ["helpers.config.grids", "run", "demo", "--name", "longer", "--set"]
    assert shlex.split(asked[6]) == [*(["seeds=[0,1,2]"] if word == "publish" else []), "training.epochs=3"]
    assert config_of(called)[:2] == ["profile=demo", "run=the-run"]


def test_a_run_as_its_profile_stands_needs_no_question_for_its_name(clone: Clone) -> None:
    result = clone.run_active("--jobs", "2")
    assert "results and figures are in runs/demo\n" in result.stdout
    assert "helpers.config.grids" not in clone.called()


def test_verify_and_a_verdict_look_at_the_run_of_the_settings(clone: Clone) -> None:
    assert clone.run_active("verify", "--name", "longer").returncode == 0
    assert clone.called()[-3:] == ["helpers.workflow.verify", "runs/the-run", "figures/the-run"]
    assert clone.run_active("verify").returncode == 0
    assert clone.called()[-3:] == ["runs/demo", "figures/demo", "figures/families"]
    assert clone.run_active("own", "verdict", "my classes", "--name", "longer").returncode == 0
    called = clone.called()
    assert called[called.index("settings") + 1] == "my classes"
    of_folder = ["helpers.results.own_classes", "verdict", "runs/the-run", "--folder", "my classes"]
    assert called[-5:] == of_folder


def test_own_classes_are_checked_before_they_are_run(clone: Clone) -> None:
    result = clone.run_active("own", "verdict")
    assert result.stderr == "error: own needs a folder of classes, as in: ./run_all.sh own verdict data/own/example\n"
    assert clone.run_active("own", "my classes").returncode == 0
    called = clone.called()
    assert called.index("validate") < called.index("settings") < called.index("snakemake")
    assert called.index("own_classes", called.index("snakemake")) < called.index("verdict")
    assert called[-4:] == ["verdict", "runs/the-run", "--folder", "my classes"]  # it ends with the verdict
    result = clone.run_active("own", "my classes", "--dry-run")
    assert "verdict" not in clone.called()
    assert clone.run_active("own", "validate", "my classes").returncode == 0
    assert clone.called()[-6:] == ["validate", "my classes", "--profile", "own", "--set", ""]
    changed = ("--profile", "demo", "--set", "training.max_length=99")
    assert clone.run_active("own", "validate", "my classes", *changed).returncode == 0
    assert clone.called()[-6:] == ["validate", "my classes", "--profile", "demo", "--set", "'training.max_length=99' "]


@pytest.mark.parametrize(
    ("given", "module"),
    [
        (["push", "demo", "qwen2_vl/a b", "--to=me/it", "--yes"], "helpers.models.push"),
        (["pack", "--check", "a file.tar.gz"], "helpers.workflow.pack"),
    ],
)
def test_what_follows_push_and_pack_is_theirs(clone: Clone, given: list[str], module: str) -> None:
    assert clone.run_active(*given).returncode == 0
    called = clone.called()
    assert called[called.index(module) :] == [module, *given[1:]]
    assert "then: push" in clone.run_active("--dry-run", "push", "demo").stdout


def test_what_follows_ask_is_its_own_and_counts_from_where_one_stands(clone: Clone, tmp_path: Path) -> None:
    here = tmp_path / "my images"
    here.mkdir()
    python = (clone.environment / "bin/python").read_text(encoding="utf-8")
    executable(clone.environment / "bin/python", python.replace("*) printf", "*.ask*) pwd; printf", 1))
    result = clone.run_active("ask", "a b.png", "--options", "A, B", cwd=here)
    assert result.stdout.splitlines()[-1] == str(here)
    called = clone.called()
    given = ["--run", "demo", "a b.png", "--options", "A, B"]
    assert called[called.index("helpers.evaluation.ask") - 2 :] == ["-P", "-m", "helpers.evaluation.ask", *given]
    assert clone.run_active("--profile", "paper", "ask", "x.png").returncode == 0  # without the data of its test
    assert clone.called()[-3:] == ["--run", "paper", "x.png"]


def test_a_dry_run_of_models_of_the_hub_says_what_they_need(clone: Clone) -> None:
    (clone.root / "data/kviscuit").mkdir(parents=True)
    assert clone.run_active("paper", "--dry-run", "--set", "training.batch_size=4").returncode == 0
    called = clone.called()
    assert called[called.index("helpers.models.rehearsal") :][:3] == ["helpers.models.rehearsal", "outlook", "paper"]
    assert "training.batch_size=4" in called[called.index("outlook") + 3]
    assert clone.run_active("demo", "--dry-run").returncode == 0
    assert "helpers.models.rehearsal" not in clone.called()


def test_settings_reach_the_profile_as_they_were_given(clone: Clone) -> None:
    hard = "description='it is: $(touch evil) `x` \"so\" #1'"
    given = ["training.epochs=3", "seeds=[0, 1]", hard, "data.note=C:\\new 나비's & % ! {a}"]
    options = [part for setting in given for part in ("--set", setting)]
    assert clone.run_active(*options, "--jobs", "2", "--", "--forceall").returncode == 0
    called = clone.called()
    settings = settings_of(called)
    assert shlex.split(settings)[:3] == given[:3]
    assert parse_overrides(settings)["description"] == 'it is: $(touch evil) `x` "so" #1'
    assert "jobs.threads=" in settings
    assert "--forceall" in called


HARD = ["a #1 b", "it's", 'a "b"', "$HOME `x` \\n", "나비 café", "a: b, [c]", "& ; | > !", "--x=1", "100% {a}"]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.parametrize("path", HARD)
def test_a_path_in_a_setting_arrives_whatever_is_in_it(clone: Clone, path: str, locale: str) -> None:
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    setting = f"domains.own.path='{quoted}'" if "'" not in path else f'domains.own.path="{quoted}"'
    assert clone.run_active("--set", setting, LC_ALL=locale).returncode == 0
    assert shlex.split(settings_of(clone.called())) == [setting]


@pytest.mark.parametrize("folder", ["my classes", "it's $HOME", "a/b", "나비"])
def test_a_relative_folder_is_the_one_where_the_command_is_given(clone: Clone, tmp_path: Path, folder: str) -> None:
    (tmp_path / "elsewhere" / folder).mkdir(parents=True)
    (clone.root / "data/own/example").mkdir(parents=True)

    def validated(named: str) -> str:
        here = clone.run_active("own", "validate", named, cwd=tmp_path / "elsewhere")
        assert here.returncode == 0
        return clone.called()[-5]  # before --profile and --set

    assert validated(folder) == str(tmp_path / "elsewhere" / folder)
    assert validated("data/own/example") == "data/own/example"  # not there, but in the clone
    assert validated("nowhere") == str(tmp_path / "elsewhere/nowhere")  # so that the error names it as it is meant
    assert validated(str(tmp_path)) == str(tmp_path)


def test_a_relative_file_of_a_grid_is_the_one_where_the_command_is_given(clone: Clone, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    assert clone.run_active("grid", "mine.yaml", "methods", cwd=tmp_path).returncode == 0
    called = clone.called()
    assert called[called.index("plan") + 1 : called.index("plan") + 3] == [str(tmp_path / "mine.yaml"), "methods"]


def test_settings_given_beside_a_folder_are_told_to_it_and_come_last(clone: Clone) -> None:
    assert clone.run_active("own", "my classes", "--set", "modes=[text_only]").returncode == 0
    called = clone.called()
    assert called[called.index("settings") : called.index("settings") + 6] == [
        *("settings", "my classes", "--profile", "own", "--set", "'modes=[text_only]' "),
    ]
    assert shlex.split(settings_of(called))[-1] == "modes=[text_only]"


def test_findings_are_the_grids_of_that_collection(clone: Clone) -> None:
    assert clone.run_active("findings").returncode == 0
    called = clone.called()
    listed = called.index("list")
    assert called[listed : listed + 4] == ["list", "demo", "--collection", "findings"]
    assert config_of(called) == ["profile=demo", "grids=bridge,chain"]
    assert called[-1] == "publish_grids"


def test_a_grid_is_planned_then_run_and_a_part_of_it_is_the_same_part_in_both(clone: Clone) -> None:
    assert clone.run_active("grid", "methods", "--only", "qwen2_vl/*/seed0").returncode == 0
    called = clone.called()
    planned = called.index("helpers.config.grids")
    assert called[planned : planned + 5] == ["helpers.config.grids", "plan", "methods", "--only", "qwen2_vl/*/seed0"]
    assert config_of(called) == ["profile=demo", "grids=methods", "only=*qwen2_vl/*/seed0*"]
    assert called[-1] == "grid_runs"  # no table of a part
    result = clone.run_active("grid", "methods", "--dry-run")
    assert result.returncode == 0
    assert "--dry-run" in clone.called()


def test_keep_going_reaches_snakemake_and_is_off_by_default(clone: Clone) -> None:
    assert clone.run_active().returncode == 0
    assert "--keep-going" not in clone.called()
    assert clone.run_active("--keep-going").returncode == 0
    assert "--keep-going" in clone.called()


def test_photographs_takes_a_folder_and_alone_installs_the_encoders(clone: Clone) -> None:
    refused = clone.run_active("photographs")
    assert refused.stderr.startswith(
        "error: photographs needs one folder or hub id, as in: ./run_all.sh photographs FOLDER"
    )
    clone.called()
    assert clone.run_active("photographs", "my birds", "--", "--texts", "t.csv").returncode == 0
    called = clone.called()
    assert "requirements.photographs.txt" in called
    assert called[-4:] == ["helpers.photographs.command", "my birds", "--texts", "t.csv"]
    assert clone.run_active("photographs", "my birds").returncode == 0
    assert "requirements.photographs.txt" not in clone.called()  # once is enough


def test_fetch_says_what_it_knows_and_a_dry_run_asks_nothing(clone: Clone) -> None:
    refused = clone.run_active("fetch", "birds")
    assert refused.stderr.startswith("error: fetch knows butterflies")
    assert clone.run_active("fetch", "butterflies", "--dry-run").returncode == 0
    assert clone.called()[-2:] == ["helpers.domains.butterfly_photos", "--dry-run"]


@pytest.mark.parametrize(("accounts", "followed"), [(0, []), (1, ["--slurm-status-command", "squeue"])])
def test_slurm_takes_its_own_profile_and_squeue_where_there_are_no_accounts(clone, accounts, followed) -> None:
    executable(clone.bin / "sbatch", "#!/bin/sh\n")
    executable(clone.bin / "sacct", f"#!/bin/sh\nexit {accounts}\n")
    assert clone.run_active("--slurm", "--jobs", "40").returncode == 0
    called = clone.called()
    begin, end = called.index("--workflow-profile"), called.index("--config")
    assert called[begin:end] == ["--workflow-profile", "config/slurm", "--jobs", "40", *followed]
    assert "--cores" not in called


def test_slurm_is_refused_where_it_is_not(clone: Clone) -> None:
    tools = clone.root.parent / "tools"  # what the script needs, and no SLURM
    tools.mkdir()
    for name in ("bash", "env", "df", "awk", "find", "sed", "sort", "tr", "cat", "dirname", "rm", "grep", "sh"):
        (tools / name).symlink_to(shutil.which(name))
    result = clone.run("--slurm", VIRTUAL_ENV=str(clone.environment), PATH=str(tools))
    clone.refuses(result, "--slurm needs SLURM's sbatch, which is not here; start this on the cluster's login node")


def test_arguments_behind_two_dashes_reach_pytest(clone: Clone) -> None:
    assert clone.run_active("test", "--", "-k", "two words").returncode == 0
    cores = ["--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
    assert clone.called()[-13:] == ["-m", "pytest", *cores, "-m", "not slow", "-k", "two words"]
    assert clone.run_active("test", "--all", "--", "-m", "slow").returncode == 0  # CI's second part
    assert clone.called()[-11:] == ["-m", "pytest", *cores, "-m", "slow"]


# ---- how it is written


@pytest.mark.parametrize("script", ["run_all.sh", ".ci/run"])
def test_shell_scripts_are_strict_and_pass_shellcheck(script: str) -> None:
    shellcheck = Path(sysconfig.get_path("scripts")) / "shellcheck"
    result = subprocess.run([shellcheck, ROOT / script], capture_output=True, text=True, check=False, timeout=30)
    assert result.stdout + result.stderr == ""
    assert "\nset -euo pipefail\n" in (ROOT / script).read_text(encoding="utf-8")
    assert os.access(ROOT / script, os.X_OK)
