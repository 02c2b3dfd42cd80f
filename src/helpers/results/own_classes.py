"""Would text alone do for classes of one's own? The command line of it; docs/own_classes.md is the way through.

    python -m helpers.results.own_classes validate FOLDER   is everything in order, what would be run, what could be concluded
    python -m helpers.results.own_classes settings FOLDER   the settings of a run on the folder, one KEY=VALUE a line
    python -m helpers.results.own_classes verdict RUN_DIR   the verdict, from the answers of a finished run
    python -m helpers.results.own_classes example FOLDER    the worked example of data/own/example, made anew

Exit status: 0 in order, 1 not. Paths count from the repository root.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from helpers.domains.own import OwnDomain
from helpers.domains.own_folder import OwnFolder, half_width, read_folder
from helpers.paths import resolve


def validate(folder: str | Path) -> tuple[bool, str]:
    """Whether the folder can be used, and all that is to be said of it."""
    own = read_folder(resolve(folder))
    lines = [f"NOTE    {note}" for note in own.findings.notes]
    lines += [f"PROBLEM {problem}" for problem in own.findings.problems]
    if own.findings.problems:
        lines.append(f"{folder}: {len(own.findings.problems)} problem(s); nothing was run")
        return False, "\n".join(lines)
    return True, "\n".join([*lines, *_what_there_is(own), *_what_would_run(own, str(folder)), *_what_it_tells(own)])


def settings(folder: str | Path) -> dict[str, object]:
    """What a run on the folder sets: where it lies, and the modes that its pictures allow."""
    own = read_folder(resolve(folder))
    if own.findings.problems:
        raise ValueError(
            f"{folder} has {len(own.findings.problems)} problem(s); `./run_all.sh own validate FOLDER` lists them"
        )
    modes = ["text_only", *(["image_text"] if own.trains_on_pictures() else [])]
    return {"domains.own.path": str(Path(folder)), "modes": modes}


def verdict(run_dir: str | Path, margin: float, protocol: str | None = None) -> str:
    """The verdict of a run in words, and its table. Raises ``ValueError`` or ``FileNotFoundError`` without answers."""
    from helpers.results.figures.style import use_displays, with_displays
    from helpers.results.tables import find, read_answers, read_resources
    from helpers.results.verdict import in_words, verdict_table, verdicts

    run = resolve(run_dir)
    files = find(run / "evaluation", "answers.jsonl")
    if not files:
        raise FileNotFoundError(f"no answers.jsonl below {run_dir}/evaluation; run `./run_all.sh own FOLDER` first")
    answers = read_answers(files)
    resources = read_resources(find(run / "training", "resources.json"))
    use_displays({}, run)
    table = with_displays(verdict_table(answers, resources, protocol))
    words = in_words(verdicts(answers, margin, protocol))
    shown = table.drop(columns="seeds").to_string(index=False, na_rep="-")
    return f"{words}\n\nIn percent and points; text_above: what text-only training is above that line.\n{shown}"


# ---- what validate says ----------------------------------------------------------------------------------------------


def _everything(own: OwnFolder) -> OwnDomain:
    return OwnDomain(own, own.classes, 0)


def _what_there_is(own: OwnFolder) -> Iterator[str]:
    train = sum(len(thing.train) for thing in own.classes)
    yield f"{len(own.classes)} classes, {train} training and {len(own.test_pictures())} test pictures"
    with_text = len(own.classes) - len(_everything(own).without_text())
    yield f"texts: of {with_text} classes; those of the other {len(own.classes) - with_text} are made"
    silent = [thing.class_id for thing in _everything(own).without_text() if not thing.look]
    if silent:
        yield (
            f"NOTE    nothing is said of the look of {_listed(silent)}: no text and no column look:... From that "
            "nobody learns to recognise them; write texts.csv, or let an LLM write (writer.backend=openai)"
        )
    if untested := [thing.class_id for thing in own.classes if not thing.test and not own.questions]:
        yield f"NOTE    no test picture of {_listed(untested)}: not asked about"
    if unused := sum(max(0, len(thing.train) - 1) for thing in own.classes):
        yield f"NOTE    a text goes with one training picture: {unused} more are used only if a class has several texts"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _what_would_run(own: OwnFolder, folder: str) -> Iterator[str]:
    asked = Counter(question.question_type for question in _everything(own).questions())
    made = "read from questions.csv and made" if own.questions else "made"
    yield f"questions, {made}: {asked[1]} of type 1 (what is it?), {asked[2]} of type 2 (what is known of it?)"
    facts = ", ".join(own.facts_to_ask()) or "none: a column fact:... with four different values is needed"
    yield f"facts that can be asked for: {facts}"
    if own.trains_on_pictures():
        yield "would be run: untuned, text only, image and text"
    else:
        lacking = [thing.class_id for thing in own.classes if not thing.train]
        yield f"would be run: untuned, text only. Not image and text: no training picture of {_listed(lacking)}"
    yield f"to run it: ./run_all.sh own {folder}"


def _what_it_tells(own: OwnFolder) -> Iterator[str]:
    """For each question type what so many questions could show, before anything is paid for."""
    from helpers.results.verdict import MARGIN, detectable, needed

    asked = Counter(question.question_type for question in _everything(own).questions())
    for kind, n in sorted(asked.items()):
        gain = detectable(n)
        found = "no gain is sure to be found" if gain >= 0.75 else f"a gain of {100 * gain:.0f} points over chance is"
        surely = f"{found} found four times in five" if gain < 0.75 else found
        yield f"type {kind}: {n} questions: an accuracy is known to ±{half_width(n):.0f} points; {surely}"
    if own.trains_on_pictures():
        enough = needed(2 * 0.8 * 0.2, 0.0, MARGIN / 100)
        yield (
            f"to show that text is within {MARGIN:g} points of pictures takes about {enough} questions of a type if "
            "both are right in 80 %, each by itself; fewer where they are right on the same questions"
        )


# ---- the command line ------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Exit status as the module says."""
    given = _options(arguments)
    try:
        if given.word == "validate":
            good, said = validate(given.folder)
            print(said)
            return 0 if good else 1
        if given.word == "settings":
            print("\n".join(f"{key}={json.dumps(value)}" for key, value in settings(given.folder).items()))
        elif given.word == "verdict":
            print(verdict(given.run_dir, given.margin, given.protocol))
        else:
            from helpers.domains.own_example import make_example

            print(f"{make_example(resolve(given.folder))} made")
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m helpers.results.own_classes", description="Would text alone do for your classes?"
    )
    words = parser.add_subparsers(dest="word", required=True)
    for word, text in (
        ("validate", "check a folder"),
        ("settings", "of a run"),
        ("example", "make the worked example"),
    ):
        words.add_parser(word, help=text).add_argument("folder")
    asked = words.add_parser("verdict", help="read a finished run")
    asked.add_argument("run_dir")
    asked.add_argument(
        "--margin", type=float, default=10.0, help="points that text may be behind pictures (default 10)"
    )
    asked.add_argument("--protocol", help="default: the one that the tables report")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
