"""Is text alone enough for your own classes? The command line; docs/own_classes.md is the guide.

    python -m helpers.results.own_classes validate FOLDER   check the folder; what would run, and what it could show
                                                            (--profile NAME: with the models of that profile)
    python -m helpers.results.own_classes settings FOLDER   the settings of a run on the folder, one KEY=VALUE per line
    python -m helpers.results.own_classes verdict RUN_DIR   the verdict, from the answers of the run's notebook 09, and
                                                            the run's page: report/index.html
    python -m helpers.results.own_classes example FOLDER    make the worked example of data/own/example again

Exit status: 0 if all is well, otherwise 1. A relative folder starts where the command is given or, if nothing is there,
at the repository root.
"""

import argparse
import json
import shlex
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.config import from_text
from helpers.config.profiles import Profile, load_profile, parse_overrides
from helpers.domains.own import OwnDomain
from helpers.domains.own_folder import half_width, read_folder
from helpers.domains.own_rows import CLASSES, OwnFolder
from helpers.paths import MAIN, ROOT, Layout, resolve, resolve_output
from helpers.workflow.provenance import MANIFEST_SUFFIX, portable

if TYPE_CHECKING:
    from helpers.models.limits import Limits

_WITH_IMAGES = ("image_text", "joint", "hybrid")  # modes that need training images; the first is the default


def validate(folder: str | Path, profile: Profile | None = None) -> tuple[bool, str]:
    """Whether the folder can be used, and the report on it; ``profile``: whose models would read it."""
    profile = profile or load_profile("own")
    unknown, limits = _limits(profile)
    tokens = sorted({token for known in limits.values() for token in known.tokens})
    own = read_folder(_found(folder), tokens=tokens)
    if not own.findings.problems:
        _check_lengths(own, profile, limits)
    lines = [f"NOTE    {note}" for note in (*unknown, *own.findings.notes)]
    lines += [f"PROBLEM {problem}" for problem in own.findings.problems]
    if own.findings.problems:
        lines.append(f"{folder}: {len(own.findings.problems)} problem(s); nothing was run")
        return False, "\n".join(lines)
    lines += [*_what_there_is(own), *_what_would_run(own, str(folder), profile), *_what_it_tells(own)]
    if notes := sum(line.startswith("NOTE") for line in lines):
        which = "the note" if notes == 1 else f"the {notes} notes"
        lines.append(f"READ {which} above first: a run cannot tell what you meant")
    return True, "\n".join(lines)


def _limits(profile: Profile) -> "tuple[list[str], dict[str, Limits]]":
    """What each model of the profile can read, by name; and remarks on the models whose processor is not here."""
    from helpers.models.limits import limits_at_hand  # seconds to import

    remarks, found = [], {}
    for name, model in profile.models.items():
        try:
            limits = limits_at_hand(model.path, profile.training.max_length, profile.training.max_pixels)
        except (ValueError, OSError) as error:
            remarks.append(f"model {name} cannot be read, so what fits into it is not known: {error}")
            continue
        if limits is None:
            remarks.append(f"model {name}: {model.path} is not on this machine, so what fits into it is not known yet")
        else:
            found[name] = limits
    return remarks, found


def _check_lengths(own: OwnFolder, profile: Profile, limits: "Mapping[str, Limits]") -> None:
    """Samples that a model could not be trained on, as problems of the rows that they are made from."""
    from helpers.datasets.build import build_samples

    rows: dict[str, list[tuple[str, int]]] = defaultdict(list)  # by class: file and row of each wording
    for text in own.texts:
        rows[text.class_id].append((text.file, text.row))
    for thing in own.classes:
        rows.setdefault(thing.class_id, [(CLASSES, thing.row)])
    texts = _everything(own).offline_texts(1)
    told: set[tuple[str, int]] = set()
    for mode in ["text_only", *_image_modes(own)[:1]]:
        faulty: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)  # by file and row: by model
        for model, known in limits.items():
            for sample, fault in known.faults(build_samples(texts, mode, profile.build), own.folder):
                class_id, wording, direction = sample.id.split("/")
                shown = f" with {sample.images[0]}" if sample.images else ""
                what = f"class {class_id!r}, {direction}{shown}: {fault} (model {model})"
                faulty[rows[class_id][int(wording)]].setdefault(model, what)
        for place in sorted(faulty.keys() - told):  # a text that is too long alone is so with an image, too
            own.findings.problem(*place, "; ".join(faulty[place].values()), "nothing is ever cut off")
        told |= faulty.keys()


def settings(folder: str | Path, asked: Mapping[str, Any] | None = None, profile: str = "own") -> dict[str, object]:
    """The settings of a run on the folder: its path, and the modes that its images allow unless ``asked`` names some.

    In a profile with other domains, such as ``laptop``, the folder takes their place.

    Raises ``ValueError`` for a folder with problems, and if ``asked`` (the user's own settings) contradicts it.
    """
    own, asked = read_folder(_found(folder)), asked or {}
    if own.findings.problems:
        raise ValueError(
            f"{folder} has {len(own.findings.problems)} problem(s); `./run_all.sh own validate FOLDER` lists them"
        )
    path = own.folder.resolve()
    shown = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
    if other := next((name for name in ("domains", "domains.own", "domains.own.path") if name in asked), None):
        raise ValueError(f"--set {other}=... names another folder than {shown}; leave it out: `own FOLDER` says which")
    found: dict[str, object] = {"domains.own.path": shown}
    if list(load_profile(profile).domains) != ["own"]:
        found = {"domains": {"own": {"source": "own", "path": shown}}}
    if "modes" not in asked:
        return found | {"modes": ["text_only", *_image_modes(own)[:1]]}
    if lacking := sorted({*_WITH_IMAGES} & set(_listed_modes(asked["modes"])) - set(_image_modes(own))):
        without = [thing.class_id for thing in own.classes if not thing.train]
        raise ValueError(
            f"--set modes={asked['modes']}: {lacking[0]} needs a training image of every class, and {_listed(without)} "
            "has none. Add them, or leave that mode out"
        )
    return found


def _found(folder: str | Path) -> Path:
    """The folder that is meant: from where the command is given or, if nothing is there, from the root."""
    here = Path(folder).expanduser().absolute()
    return here if here.exists() else resolve(folder)


def _image_modes(own: OwnFolder) -> list[str]:
    return [*_WITH_IMAGES] if own.trains_on_images() else []


def _listed_modes(value: Any) -> list[str]:
    found = from_text(value, list[str])
    return list(map(str, found)) if isinstance(found, list) else []


def verdict(run_dir: str | Path, margin: float, protocol: str | None = None, folder: str | Path | None = None) -> str:
    """The verdict on a run in words, and its table. Raises ``ValueError`` or ``FileNotFoundError`` without answers.

    The answers are those that the run's notebook 09 was given: others may be left from earlier settings. A run made by
    hand has no record of them; then all count. ``folder``: that of the classes, if the run must be of no other.
    """
    from helpers.results.figures.style import use_displays, with_displays
    from helpers.results.sight import sight, texts_answered
    from helpers.results.tables import find, read_answers, read_resources
    from helpers.results.verdict import in_words, verdict_table, verdicts

    run = resolve(run_dir)
    _check_folder(run, folder)
    given = _given(run)
    files = given.get("answer_files") or find(run / "evaluation", "answers.jsonl")
    if not files:
        raise FileNotFoundError(f"no answers.jsonl below {run_dir}/evaluation; run `./run_all.sh own FOLDER` first")
    answers = read_answers(map(resolve, files))
    measured = given.get("resource_files") or find(run / "training", "resources.json")
    resources = read_resources(map(resolve, measured))
    use_displays(given.get("displays") or {}, run)
    table = with_displays(verdict_table(answers, resources, protocol))
    named = given.get("dataset_dir")
    data = resolve(named) if named else Layout(run).folder("dataset", domain=answers["domain"].iloc[0], variant=MAIN)
    seen = sight(answers, texts_answered(data, answers))
    words = in_words(verdicts(answers, margin, protocol, seen))
    shown = table.drop(columns="seeds").to_string(index=False, na_rep="-")
    return f"{words}\n\nIn percent and points; text_above: how far text-only training is above that line.\n{shown}"


def _page(run: Path) -> str | None:
    """The run's page, made now; None if notebook 09 has not judged the run."""
    from helpers.results.report.page import build, is_of_own_classes

    return str(portable(build(run, displays=_given(run).get("displays")))) if is_of_own_classes(run) else None


def _given(run: Path) -> dict[str, Any]:
    """What the run's notebook 09 was given; empty if the workflow has not run it."""
    return _recorded(Layout(run).executed("own_classes").with_suffix(MANIFEST_SUFFIX))


def _recorded(manifest: Path) -> dict[str, Any]:
    """The parameters of the run that a manifest records; empty if there is none."""
    found = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    return dict(found.get("parameters", {}))


def _check_folder(run: Path, folder: str | Path | None) -> None:
    """Two folders share a run if it was given a name (``--name``): the later one's answers are not the other's."""
    for manifest in sorted((run / "data").glob("*/*/manifest.json")) if folder is not None else ():
        read = _recorded(manifest).get("source_path")
        if read and resolve(read) != _found(str(folder)).resolve():
            raise ValueError(
                f"{run.name} holds the results of {read}, not of {folder}; run `./run_all.sh own FOLDER` again, or "
                "give each folder its own --name"
            )


# ---- the report of validate ------------------------------------------------------------------------------------------


def _everything(own: OwnFolder) -> OwnDomain:
    return OwnDomain(own, own.classes, 0)


def _what_there_is(own: OwnFolder) -> Iterator[str]:
    train = sum(len(thing.train) for thing in own.classes)
    yield f"{len(own.classes)} classes, {train} training and {len(own.test_images())} test images"
    with_text = len(own.classes) - len(_everything(own).without_text())
    yield f"texts: {with_text} classes have one; those of the other {len(own.classes) - with_text} are generated"
    silent = [thing.class_id for thing in _everything(own).without_text() if not thing.appearance]
    if silent:
        yield (
            f"NOTE    the appearance of {_listed(silent)} is not described: no text and no column look:... Nothing "
            "can be learned from that; write texts.csv, or let an LLM write the texts (writer.backend=openai)"
        )
    if untested := [thing.class_id for thing in own.classes if not thing.test and not own.questions]:
        yield f"NOTE    no test image of {_listed(untested)}: no questions about them"
    if unused := sum(max(0, len(thing.train) - 1) for thing in own.classes):
        yield f"NOTE    a text is paired with one training image; {unused} more need several texts per class to be used"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _what_would_run(own: OwnFolder, folder: str, profile: Profile) -> Iterator[str]:
    asked = Counter(question.question_type for question in _everything(own).questions())
    made = "from questions.csv and generated" if own.questions else "generated"
    yield f"questions, {made}: {asked[1]} of type 1 (what is it?), {asked[2]} of type 2 (what is known about it?)"
    facts = ", ".join(own.facts_to_ask()) or "none: a column fact:... needs at least four different values"
    yield f"facts to ask about: {facts}"
    models = ", ".join(model.display for model in profile.models.values())
    if own.trains_on_images():
        yield f"would run: {models} untuned, trained on text only, and on image and text"
    else:
        lacking = [thing.class_id for thing in own.classes if not thing.train]
        yield (
            f"would run: {models} untuned, and trained on text only. Not on image and text: no training image of "
            f"{_listed(lacking)}"
        )
    named = "" if profile.name == "own" else f" --profile {profile.name}"
    yield f"to run it: ./run_all.sh own {shlex.quote(folder)}{named}"


def _what_it_tells(own: OwnFolder) -> Iterator[str]:
    """Per question type, what that many questions can show, before anything is paid for."""
    from helpers.results.verdict import MARGIN, detectable, needed

    asked = Counter(question.question_type for question in _everything(own).questions())
    for kind, n in sorted(asked.items()):
        gain = detectable(n)
        found = f"a gain of {100 * gain:.0f} points over chance is found in four of five studies"
        found = found if gain < 0.75 else "too few to find any gain reliably"
        yield f"type {kind}: {n} questions: accuracy is known to within ±{half_width(n):.0f} points; {found}"
    if own.trains_on_images():
        enough = needed(2 * 0.8 * 0.2, 0.0, MARGIN / 100)
        yield (
            f"to show that text is within {MARGIN:g} points of images takes about {enough} questions of a type if both "
            "score 80 % independently; fewer if they are right on the same questions"
        )


# ---- the command line ------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    given = _options(arguments)
    try:
        if given.word == "validate":
            good, said = validate(given.folder, load_profile(given.profile, parse_overrides(given.set)))
            print(said)
            return 0 if good else 1
        if given.word == "settings":
            found = settings(given.folder, parse_overrides(given.set), given.profile)
            print("\n".join(f"{key}={json.dumps(value)}" for key, value in found.items()))
        elif given.word == "verdict":
            print(verdict(given.run_dir, given.margin, given.protocol, given.folder))
            if page := _page(resolve(given.run_dir)):
                print(f"\nimages, descriptions, confusions and costs on one page: {page}")
        else:
            from helpers.domains.own_example import make_example

            print(f"{make_example(resolve_output(given.folder))} made")
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.results.own_classes", description="Is text alone enough for your classes?"
    )
    words = parser.add_subparsers(dest="word", required=True)
    parsers = {}
    for word, text in (
        ("validate", "check a folder"),
        ("settings", "print the settings of a run"),
        ("example", "make the worked example"),
    ):
        parsers[word] = words.add_parser(word, help=text)
        parsers[word].add_argument("folder")
    for word in ("validate", "settings"):
        parsers[word].add_argument("--profile", default="own", help="whose models would run (default: %(default)s)")
        parsers[word].add_argument("--set", default="", help="settings of your own, as KEY=VALUE KEY=VALUE")
    asked = words.add_parser("verdict", help="read a finished run")
    asked.add_argument("run_dir")
    asked.add_argument(
        "--margin", type=float, default=10.0, help="points that text may be behind images (default: %(default)s)"
    )
    asked.add_argument("--folder", help="refuse a run on any other folder of classes")
    asked.add_argument("--protocol", help="default: the one that the tables report")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
