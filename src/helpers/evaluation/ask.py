"""Ask a trained model about images of one's own: `./run_all.sh ask IMAGE [IMAGE ...] [--options "A, B, C, D"]`

The tuned model stands beside the untuned one. Each describes the image, and each says how likely it finds every name:
the names of `--options` or, without them, all classes of the run's domain, of which the likeliest are shown. It is
asked as the run's own test asks: with the same prompts, and a name in the sentence of the data set. If the run also
asks by answering "describe_then_answer", the tuned model names the thing from the untuned model's description as well.

A certainty is a name's share of the likelihood of all names that were offered. It is not calibrated, and does not say
how likely it is that none of them fits.

Which adapter: `--adapter`, or one of the run's by `--model`, `--domain`, `--mode` and `--seed`; of what is left out,
the first that the run's profile lists, and text_only before other modes. Everything that was given is checked before a
model is loaded. Exit status: 0, or 2 for anything that is wrong.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from helpers.config import validated
from helpers.config.evaluation import Evaluation
from helpers.config.profiles import load_profile, profile_of
from helpers.config.prompts import EvaluationPrompts, evaluation_prompts, of_domain
from helpers.images import check_image_file
from helpers.paths import ADAPTER, MAIN, ROOT, RUNS, STEPS, Layout, is_hub_id, resolve
from helpers.schemas import Question, chat_mark
from helpers.workflow.run_layout import check_layout
from helpers.workflow.splits import open_questions
from helpers.workflow.trained import trained_adapters

if TYPE_CHECKING:
    from helpers.evaluation.reader import Reader

SHOWN_NAMES = 5
CHOSEN_BY = ("model", "domain", "mode", "seed")  # the options that choose among a run's adapters
UNTUNED, TUNED, FROM_WORDS = "untuned", "tuned", "tuned, from words"


@dataclass(frozen=True)
class Asking:
    """An adapter with its base model, and how both are asked.

    ``domain``: whose prompts are used; None: the generic ones. ``form``: the sentence around a name. ``classes``: the
    names of the run's classes, none if no data set is known. ``others``: what else the run has, by ``--domain`` etc.
    """

    adapter: Path
    base: str | Path
    settings: Evaluation
    prompts: EvaluationPrompts
    domain: str | None = None
    form: str = "{option}"
    classes: tuple[str, ...] = ()
    others: str = ""


@dataclass(frozen=True)
class Impression:
    """What one way of asking makes of an image: a description, and the share of each name, from 0 to 1."""

    description: str
    certainties: dict[str, float]

    def likeliest(self, count: int = 1) -> list[str]:
        """The names with the largest shares, as in "Kimchi 62 %"; of equal ones the name offered first."""
        order = sorted(self.certainties, key=self.certainties.__getitem__, reverse=True)
        return [f"{name} {100 * self.certainties[name]:.0f} %" for name in order[:count]]


# ---- what was asked for, checked before anything expensive -----------------------------------------------------------


def check_images(images: Iterable[str]) -> list[Path]:
    """The files. A path counts from the working folder or, if it is not there, from the repository root.

    Raises ``ValueError``, which lists every image that cannot be used.
    """
    found, problems = [], []
    for image in images:
        path = _from_here(image)
        try:
            check_image_file(path)
            found.append(path)
        except (ValueError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n  ".join([f"{len(problems)} image(s) cannot be used:", *problems]))
    return found


def read_options(text: str) -> list[str]:
    """The names in ``"A, B, C"``. Raises ``ValueError`` unless they are at least two different names."""
    options = [option.strip() for option in text.split(",")]
    if "" in options or len(options) < 2 or len({option.casefold() for option in options}) < len(options):
        raise ValueError(
            f'--options is {text!r}; it takes two or more different names with commas between, as in "A, B, C, D"'
        )
    if mark := next(filter(None, map(chat_mark, options)), None):
        raise ValueError(f"--options holds {mark!r}, which a model takes for a mark of its chat; delete it")
    return options


def adapter_of_run(run: Path, given: Mapping[str, str]) -> Path:
    """The folder of the run's adapter with the ``given`` names (model, domain, mode, seed).

    Names that are left out: as the module's docstring says. Raises ``ValueError`` if the run has no such adapter, and
    `helpers.workflow.run_layout.OldRunError` for a run of an older version.
    """
    check_layout(run)
    left = list(trained_adapters(run).values())
    if not left:
        others = [folder.name for folder in sorted(RUNS.glob("*")) if trained_adapters(folder)]
        elsewhere = f"; runs with adapters: {', '.join(others)} (--run NAME)" if others else ""
        raise ValueError(f"{_shown(run)} has no trained adapter; run {_command(run)} first{elsewhere}")
    profile = profile_of(RUNS / run.name.partition("+")[0])  # a run with other settings is named PROFILE+...
    first: dict[str, list[str]] = {"mode": ["text_only"], "variant": [MAIN]}
    if profile:
        first |= {"model": list(profile.models), "domain": list(profile.domains)}
    for field in STEPS["training"].fields:
        there = sorted({names[field] for names in left}, key=_in_order)
        if (wanted := given.get(field)) is not None and wanted not in there:
            rest = {name: value for name, value in given.items() if name in left[0] and name != field}
            said = "".join(f", with {name} {value}" for name, value in rest.items())
            raise ValueError(f"--{field} is {wanted!r}; {_shown(run)} has adapters of {', '.join(there)}{said}")
        chosen = wanted or next((name for name in first.get(field, []) if name in there), there[0])
        left = [names for names in left if names[field] == chosen]
    return Layout(run).folder("training", **left[0]) / "adapter"


def asking_of(adapter: Path) -> Asking:
    """How the model of an adapter is asked: as in its run or, for an adapter elsewhere, with generic prompts.

    Raises ``ValueError`` or ``FileNotFoundError`` if files are missing or cannot be read.
    """
    if missing := [name for name in ADAPTER[:2] if not (adapter / name).is_file()]:
        raise FileNotFoundError(
            f"{adapter}: no {' and no '.join(missing)}; an adapter is the folder of that name, saved by notebook 03"
        )
    base = str(_json(adapter / "adapter_config.json").get("base_model_name_or_path"))
    if not is_hub_id(base) and not resolve(base).is_dir():
        raise FileNotFoundError(f"{adapter}: its base model is {base}, which is not on this machine; put it there")
    layout, names = _place(adapter)
    if layout:
        check_layout(layout.run)
    settings = _settings(adapter, layout, names)
    asking = Asking(adapter, base if is_hub_id(base) else resolve(base), settings, evaluation_prompts(settings.prompts))
    if not layout:
        return asking
    variants = dict.fromkeys((names["variant"], MAIN))  # a variant of the training shares the data set of others
    files = [layout.file("dataset", "questions.jsonl", domain=names["domain"], variant=variant) for variant in variants]
    file = next((file for file in files if file.is_file()), None)
    asked = open_questions(file, "test", "dev", use="the names of the classes") if file else []
    recognising = [q for q in asked if q.question_type == 1]
    return Asking(**{**vars(asking), **_of_data(recognising), "others": _others(layout.run, names)})


def _of_data(recognising: Sequence[Question]) -> dict[str, Any]:
    """The data set's language, its sentence around a name, and its classes by the names that the test gives them."""
    if not recognising:
        return {}
    ((domain, form), _), *_ = Counter((q.domain, q.answer_form) for q in recognising).most_common(1)
    names = tuple(dict.fromkeys(q.right_option for q in recognising if q.class_id))
    return {"domain": domain, "form": form, "classes": names}


def _others(run: Path, names: Mapping[str, str]) -> str:
    """The options that lead to the run's other adapters, as in "--seed 1, 2"."""
    there = list(trained_adapters(run).values())
    values = {field: sorted({found[field] for found in there} - {names[field]}, key=_in_order) for field in CHOSEN_BY}
    return "; ".join(f"--{field} {', '.join(others)}" for field, others in values.items() if others)


def _in_order(name: str) -> tuple[int, str]:
    """Seed 2 comes before seed 10."""
    return (int(name) if name.isdigit() else 0), name


def _place(adapter: Path) -> tuple[Layout | None, dict[str, str]]:
    """The run that an adapter lies in, and its names there; None if it lies elsewhere."""
    fields = STEPS["training"].fields
    seed, *above = adapter.parents
    if len(above) <= len(fields) or not seed.name.startswith("seed"):
        return None, {}
    parts = [*(folder.name for folder in reversed(above[: len(fields) - 1])), seed.name.removeprefix("seed")]
    layout, names = Layout(above[len(fields)]), dict(zip(fields, parts, strict=True))
    return (layout, names) if layout.folder("training", **names) == seed else (None, {})


def _settings(adapter: Path, layout: Layout | None, names: Mapping[str, str]) -> Evaluation:
    """Those of the run's evaluation, from its manifest; without one, what must be as in training, and defaults."""
    manifest = layout.folder("evaluation", **names) / "manifest.json" if layout else None
    if manifest and manifest.is_file():
        known, source = _json(manifest).get("parameters", {}), manifest
        fields = set(Evaluation.model_fields)
    else:
        source = adapter / "training.json"
        known = _json(source) if source.is_file() else {}
        fields = {"dtype", "max_pixels"}
    return validated(
        Evaluation, {name: known[name] for name in fields if name in known}, "these settings", _shown(source)
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); the run that made it has to be repeated") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no settings, but {type(found).__name__}; the run has to be repeated")
    return found


def _command(run: Path) -> str:
    """The command that trains what a run of this name holds; the demo's if the name says nothing."""
    profile, _, _ = run.name.partition("+")
    if run.name == "own":
        return "./run_all.sh own FOLDER"
    is_known = run.parent == RUNS and profile != "demo" and profile_of(RUNS / profile)
    return f"./run_all.sh --profile {profile}" if is_known else "./run_all.sh"


def _from_here(path: str) -> Path:
    """An absolute path as whoever gave it means it: from where they stand or, if it is not there, from the root."""
    here = (Path.cwd() / Path(path).expanduser()).resolve()
    return here if here.exists() or not resolve(path).exists() else resolve(path)


# ---- the models ------------------------------------------------------------------------------------------------------


def impressions(
    reader: "Reader", asking: Asking, images: Sequence[Path], names: Sequence[str]
) -> dict[str, list[Impression]]:
    """For each way of asking, one impression per image. ``names``: those that are offered.

    Ways: the untuned model, the tuned one, and, if the settings answer by "describe_then_answer", the tuned one that
    reads the untuned one's description and does not see the image.
    """
    from helpers.evaluation.prompts import Prompt, Shown

    describing, naming = (of_domain(by, asking.domain) for by in (asking.prompts.describing, asking.prompts.naming))
    shown = [Shown(path, asking.settings.max_pixels) for path in images]

    def certainties(prompts: Sequence[Prompt]) -> list[dict[str, float]]:
        answers = [asking.form.format(option=name) for name in names]
        read = reader.likelihoods(prompts, [answers] * len(prompts), "names")
        mean = asking.settings.protocols[0] == "option_likelihood_normalised"
        scores = [[one.mean if mean else one.total for one in each] for each in read]
        return [dict(zip(names, shares(each), strict=True)) for each in scores]

    def seen() -> list[Impression]:
        texts = reader.write([Prompt(describing, image) for image in shown], "description")
        named = certainties([Prompt(naming, image) for image in shown])
        return [Impression(*both) for both in zip(texts, named, strict=True)]

    with reader.untuned():
        found = {UNTUNED: seen()}
    found[TUNED] = seen()
    if "describe_then_answer" in asking.settings.answering:
        texts = [impression.description for impression in found[UNTUNED]]
        named = certainties([Prompt(asking.prompts.about(text, naming)) for text in texts])
        found[FROM_WORDS] = [Impression(*both) for both in zip(texts, named, strict=True)]
    return found


def shares(scores: Sequence[float]) -> list[float]:
    """Softmax of log likelihoods: 0 and log 3 give 1/4 and 3/4."""
    from scipy.special import softmax

    return [float(share) for share in softmax(scores)]


# ---- what is said ----------------------------------------------------------------------------------------------------


def as_classes(options: Sequence[str], classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options, with classes of the run spelt as its test does ("the monarch" as "Monarch"); those that are none.

    Raises ``ValueError`` if two options are one class.
    """

    def plain(name: str) -> str:
        return name.casefold().removeprefix("the ")

    known = {plain(name): name for name in classes}
    names = [known.get(plain(option), option) for option in options]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"--options names {', '.join(twice)} twice; name each class once")
    return names, [option for option in options if plain(option) not in known]


def preface(asking: Asking, names: Sequence[str], offered: bool, strangers: Sequence[str]) -> str:
    """Who is asked what. ``offered``: the names are the user's; ``strangers``: those that are no class of the run."""
    question = of_domain(asking.prompts.naming, asking.domain)
    which = f"the {len(names)} given" if offered else f"all {len(names)} classes of the run's domain"
    lines = [
        f"adapter   {_shown(asking.adapter)}",
        *([f"          (the run has others: {asking.others})"] if asking.others else []),
        f"base      {_shown(asking.base)}; alone, it is the untuned model",
        f'asked     "{question}", answered as in "{asking.form.format(option=names[0])}"',
        f"names     {which}, ranked by likelihood" + ("" if offered else f"; the first {SHOWN_NAMES} are shown"),
        "          A certainty is a share among these names; it does not say that one of them fits.",
    ]
    if "describe_then_answer" in asking.settings.answering:
        lines.append(f'          "{FROM_WORDS}": the tuned model reads the untuned one\'s description, not the image.')
    if strangers and asking.classes:
        lines.append(f"NOTE      no class of this run, so no training text was about it: {', '.join(strangers)}")
    if _shown(asking.base) in {model.path for model in load_profile("demo").models.values()}:
        lines.append(
            "NOTE      The demo's tiny models know the drawn world only, its butterflies and its things of culture.\n"
            "          What they say of a photograph means nothing."
        )
    return "\n".join(lines)


def account(images: Sequence[str], found: Mapping[str, Sequence[Impression]]) -> str:
    """The descriptions and names: of one image the likeliest names, of several a table with the likeliest of each."""
    ways = list(found)
    if len(images) == 1:
        ranked = zip(*(found[way][0].likeliest(SHOWN_NAMES) for way in ways), strict=True)
        rows = [[f"{place}.", *names] for place, names in enumerate(ranked, start=1)]
    else:
        rows = [[image, *(found[way][place].likeliest()[0] for way in ways)] for place, image in enumerate(images)]
    lines = [*_aligned([["", *ways], *rows]), ""]
    for place, image in enumerate(images):
        lines += [image, *(f"  {way:7}  {found[way][place].description}" for way in (UNTUNED, TUNED))]
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines, in columns; a Korean syllable is as wide as two letters."""

    def width(text: str) -> int:
        return sum(1 + (east_asian_width(letter) in "WF") for letter in text)

    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    padded = [[cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)] for row in rows]
    return ["  ".join(row).rstrip() for row in padded]


def _shown(path: str | Path) -> str:
    """A path as messages name it: from the repository root, where it lies below it."""
    return Path(path).relative_to(ROOT).as_posix() if Path(path).is_relative_to(ROOT) else str(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run_all.sh ask",
        description="The tuned model beside the untuned one, on images of your own.",
        allow_abbrev=False,
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a file; several give a table")
    parser.add_argument("--options", metavar='"A, B, C, D"', help="names to choose from; otherwise the run's classes")
    parser.add_argument("--run", default="demo", help="a run's folder, or its name in runs/ (default: %(default)s)")
    for name in CHOSEN_BY:
        parser.add_argument(f"--{name}", help=f"of the run's adapters, one of this {name}")
    parser.add_argument("--adapter", metavar="DIR", help="the folder of any adapter, in place of these")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Ask, and print what is said. Exit status: 0, or 2 for anything that is wrong."""
    given = _parser().parse_args(arguments)
    wanted = {name: getattr(given, name) for name in CHOSEN_BY if getattr(given, name)}
    try:
        images = check_images(given.images)
        options = None if given.options is None else read_options(given.options)
        if given.adapter is not None:
            if wanted:
                raise ValueError(f"--adapter names one adapter, so --{next(iter(wanted))} has no place beside it")
            adapter = _from_here(given.adapter)
        else:
            run = RUNS / given.run if "/" not in given.run else _from_here(given.run)
            adapter = adapter_of_run(run, wanted)
        asking = asking_of(adapter)
        if options is None and len(asking.classes) < 2:
            raise ValueError(f'{_shown(adapter)}: the classes of its run are not known; give --options "A, B, C, D"')
        names, strangers = as_classes(options or asking.classes, asking.classes)
        print(preface(asking, names, options is not None, strangers), "\n", sep="", flush=True)

        from helpers.evaluation.run import load_reader  # seconds, as all that needs torch
        from helpers.models.adapters import quantisation_of

        quantised: Any = quantisation_of(adapter)
        reader = load_reader(asking.base, adapter, asking.settings, quantised)
        print(account(given.images, impressions(reader, asking, images, names)))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"ask: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
